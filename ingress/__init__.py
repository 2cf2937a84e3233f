"""The process that answers HTTP: webhooks in, the console, probes and metrics."""
