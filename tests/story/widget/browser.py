"""A browser without a window: it opens pages, reads what they show and the forms they have, and presses buttons."""

import asyncio
from dataclasses import dataclass, field
from html.parser import HTMLParser

import aiohttp

WAIT_LIMIT_S = 20


@dataclass(slots=True)
class Form:
    """A form of a page: its fields with what is filled in, and its buttons by their words."""

    action: str
    method: str
    values: dict[str, str] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    buttons: dict[str, tuple[str, str]] = field(default_factory=dict)


class Page(HTMLParser):
    """What a page shows."""

    def __init__(self, url: str, status: int, text: str, headers: dict[str, str]) -> None:
        super().__init__()
        self.url, self.status, self.source, self.headers = url, status, text, headers
        self.forms: list[Form] = []
        self.links: dict[str, str] = {}
        self.labels: dict[str, str] = {}
        self.language = ""
        self.unlabelled: list[str] = []
        self.images: list[str] = []
        self.title = ""
        self.titles = 0
        self.now = ""
        self.alerts: list[str] = []
        self._words: list[str] = []
        self._open: list[tuple[str, list[str], dict[str, str]]] = []
        self.feed(text)
        self.unlabelled = [name for name in self.unlabelled if name not in self.labels]

    @property
    def text(self) -> str:
        """All words of the page, in order, with single blanks."""
        return " ".join(" ".join(self._words).split())

    def form(self, button: str) -> Form:
        """Return the form that has this button."""
        found = [form for form in self.forms if button in form.buttons]
        assert len(found) == 1, f"{button!r} is not one of {[list(form.buttons) for form in self.forms]}: {self.text}"
        return found[0]

    @property
    def buttons(self) -> list[str]:
        """List the words of all buttons."""
        return [name for form in self.forms for name in form.buttons]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "html":
            self.language = given.get("lang", "")
        elif tag == "form":
            self.forms.append(Form(given.get("action", ""), given.get("method", "get")))
        elif tag == "input" and self.forms:
            self._take_input(given)
        elif tag == "textarea" and self.forms:
            self.forms[-1].inputs.append(given["name"])
            self.unlabelled.append(given.get("id", ""))
        elif tag == "img":
            self.images.append(given["src"])
        if tag not in ("input", "img", "meta", "link", "br"):
            self._open.append((tag, [], given))

    def _take_input(self, given: dict[str, str]) -> None:
        form = self.forms[-1]
        kind = given.get("type", "text")
        if kind != "hidden" and not any(tag == "label" for tag, _, _ in self._open):
            self.unlabelled.append(given.get("id", ""))
        if kind == "checkbox":
            form.inputs.append(given["name"])
            if "checked" in given:
                form.values[given["name"]] = given["value"]
        elif kind == "radio":
            form.inputs.append(f"{given['name']}={given['value']}")
        else:
            form.values[given["name"]] = given.get("value", "")
            if kind != "hidden":
                form.inputs.append(given["name"])

    def handle_data(self, data: str) -> None:
        if not any(tag in ("script", "style", "title") for tag, _, _ in self._open):
            self._words.append(data)
        for _, words, _ in self._open:
            words.append(data)

    def handle_endtag(self, tag: str) -> None:
        while self._open:
            name, words, given = self._open.pop()
            said = " ".join("".join(words).split())
            if name == "button" and self.forms:
                self.forms[-1].buttons[said] = (given.get("name", ""), given.get("value", ""))
            elif name == "a":
                self.links[said] = given.get("href", "")
            elif name == "label":
                self.labels[given.get("for", "")] = said
            elif name == "h1":
                self.title = said
                self.titles += 1
            elif name == "li" and given.get("aria-current") == "step":
                self.now = said
            if given.get("role") == "alert":
                self.alerts.append(said)
            if name == tag:
                return


class Browser:
    """One person's browser. It follows what a server says, and runs no script."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self.page: Page

    async def open(self, url: str) -> Page:
        """Open an address."""
        async with self._session.get(url) as answer:
            return await self._show(answer)

    async def press(self, button: str, **filled: str) -> Page:
        """Fill in a form by the names of its fields, press a button of it, and wait while the bank is asked."""
        await self.send(button, **filled)
        return await self.wait()

    async def send(self, button: str, **filled: str) -> Page:
        """Do the same, and return the first page that is shown."""
        form = self.page.form(button)
        unknown = [name for name in filled if name not in form.inputs and f"{name}={filled[name]}" not in form.inputs]
        assert not unknown, f"{unknown} are none of {form.inputs}"
        name, value = form.buttons[button]
        values = form.values | filled | ({name: value} if name else {})
        url = self.page.url.partition("?")[0] if not form.action else form.action
        if form.method == "get":
            async with self._session.get(url, params=values) as answer:
                return await self._show(answer)
        async with self._session.post(url, data=values) as answer:
            return await self._show(answer)

    async def decide(self, link: str, decision: str, *accounts: str) -> str:
        """Decide on a bank's own page as the holder; return where it leads back to."""
        await self.open(link)
        form = {"decision": decision, "accounts": list(accounts)}
        async with self._session.post(self.page.url, data=form, allow_redirects=False) as answer:
            return answer.headers["Location"]

    async def wait(self) -> Page:
        """Reload while the page says that the bank is being asked."""
        async with asyncio.timeout(WAIT_LIMIT_S):
            while "is being asked" in self.page.text:
                await self.open(self.page.url)
        return self.page

    async def _show(self, answer: aiohttp.ClientResponse) -> Page:
        self.page = Page(str(answer.url), answer.status, await answer.text(), dict(answer.headers))
        return self.page
