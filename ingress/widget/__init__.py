"""The widget: pages in which a person links a bank or repairs one, by themselves or in a frame of somebody's software."""

from ingress.widget.desk import Parts
from ingress.widget.door import Widget

__all__ = ["Parts", "Widget"]
