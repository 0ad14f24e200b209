"""A notebook that is open in JupyterLab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Locator

    from tests.browser.servers import JupyterLab
    from tests.browser.watched import Watched

__all__ = ["Notebook"]

TIMEOUT, LONG = 60, 240  # seconds: what a page may take, and what a calculation may
# Each snippet runs within this: with the application, the panel of the notebook, and a limit of time.
FRAME = """async ([path, seconds, value]) => {
    const app = window.jupyterapp;
    const panel = [...app.shell.widgets("main")].find(each => each.context?.path === path);
    const run = async () => { %s };
    let timer;
    const late = new Promise((_, fail) => {
        timer = setTimeout(() => fail(new Error("not done in " + seconds + " s")), seconds * 1000);
    });
    try { return await Promise.race([run(), late]); } finally { clearTimeout(timer); }
}"""
OPENED = """path => [...(window.jupyterapp?.shell?.widgets("main") ?? [])].some(
    each => each.context?.path === path && each.context.isReady
)"""
KERNEL = "await panel.sessionContext.ready; await panel.sessionContext.session.kernel.info;"
ASK = """
    const future = panel.sessionContext.session.kernel.requestExecute(
        {code: value, store_history: false, allow_stdin: false, stop_on_error: false}
    );
    const said = {stdout: "", problem: ""};
    future.onIOPub = ({header, content}) => {
        if (header.msg_type === "stream" && content.name === "stdout") said.stdout += content.text;
        if (header.msg_type === "error") said.problem = content.traceback.join("\\n");
    };
    await future.done;
    return said;
"""


class Notebook:
    """A notebook in the root of a JupyterLab, opened in a watched page.

    Cells are counted from 0. JupyterLab puts only those into the page that are near to what is seen; `cell` and
    `output` scroll there.
    """

    def __init__(self, lab: JupyterLab, watched: Watched, path: Path) -> None:
        self.lab = lab
        self.watched = watched
        self.page = watched.page
        self.path = path.relative_to(lab.root).as_posix()

    def open(self) -> Notebook:
        """Open it in a JupyterLab that has nothing else open, and wait until its kernel has told what it is."""
        self.page.goto(f"{self.lab.url}/lab/tree/{self.path}?reset")
        return self._wait()

    def open_beside(self) -> Notebook:
        """Open it in the JupyterLab that the page already shows, as one more tab."""
        self.js("await app.commands.execute('docmanager:open', {path: value});", self.path)
        return self._wait()

    def activate(self) -> None:
        """Bring its tab to the front."""
        self.js("app.shell.activateById(panel.id); await panel.revealed;")

    def reload(self) -> Notebook:
        """Save it, and load the page anew; the kernel goes on."""
        self.js("await panel.context.save();")
        self.page.reload()
        return self._wait()

    def run_all(self) -> Notebook:
        """Run all cells; fail if one of them does, or is not run at all."""
        self.start()
        return self.finish()

    def start(self) -> None:
        """Begin to run all cells."""
        # A click on "Run All" right after the kernel is idle is lost; the command is not.
        self.activate()
        self.js("(window.runs ??= {})[panel.id] = app.commands.execute('notebook:run-all-cells');")

    def finish(self) -> Notebook:
        """Wait until all cells have been run; fail if one of them does, or is not run at all."""
        self.js("await window.runs[panel.id];", timeout=LONG)
        self._assert_no_problem()
        counts = self.js("return [...panel.content.model.cells].map(each => each.executionCount ?? 'not code');")
        assert None not in counts, f"cells that were not run: {counts}"
        return self

    def add(self, source: str) -> int:
        """Add a cell of code at the end, run it, and return its number."""
        number: int = self.js(
            """
            const {content} = panel;
            content.model.sharedModel.addCell({cell_type: "code", source: value});
            content.activeCellIndex = content.model.cells.length - 1;
            content.deselectAll();
            await app.commands.execute("notebook:run-cell");
            return content.activeCellIndex;
            """,
            source,
        )
        self._assert_no_problem(number)
        return number

    def ask(self, source: str, timeout: float = TIMEOUT) -> str:
        """Run code in the kernel without a cell of its own, and return what it has printed."""
        said = self.js(ASK, source, timeout)
        assert not said["problem"], said["problem"]
        return str(said["stdout"])

    def outputs(self, number: int) -> list[dict[str, Any]]:
        """Return the outputs of a cell as they would be saved."""
        found: list[dict[str, Any]] = self.js(
            "return panel.content.model.cells.get(value).outputs?.toJSON() ?? [];", number
        )
        return found

    def length(self) -> int:
        """Return the number of cells."""
        return int(self.js("return panel.content.model.cells.length;"))

    def problems(self, number: int | None = None) -> list[str]:
        """Return the errors, and what was written to stderr, of one cell or of all."""
        numbers = range(self.length()) if number is None else [number]
        return [
            f"cell {each}: {output.get('evalue') or output.get('text')}"
            for each in numbers
            for output in self.outputs(each)
            if output["output_type"] == "error" or output.get("name") == "stderr"
        ]

    def cell(self, number: int) -> Locator:
        """Scroll to a cell, and return it."""
        panel = self.js("await panel.content.scrollToItem(value, 'auto', 0); return panel.id;", number)
        return self.page.locator(f'#{panel} .jp-Cell[data-windowed-list-index="{number}"]')

    def output(self, number: int) -> Locator:
        """Scroll to a cell, and return the place of its outputs."""
        return self.cell(number).locator(".jp-Cell-outputArea")

    def trusted(self) -> bool:
        """Whether all cells of code are trusted."""
        return bool(self.js("return [...panel.content.model.cells].every(each => each.trusted);"))

    def restart_kernel(self) -> None:
        """Give it a new kernel, without the dialogue that asks for leave."""
        self.js(f"await panel.sessionContext.restartKernel(); {KERNEL}")

    def kill_kernel(self) -> None:
        """Shut its kernel down, and wait until JupyterLab shows that there is none."""
        self.js("await panel.sessionContext.shutdown();")
        assert self.js("return panel.sessionContext.session === null;")

    def theme(self, name: str) -> None:
        """Switch JupyterLab to the theme "light" or "dark", as its menu does."""
        full = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}[name]
        self.js("await app.commands.execute('apputils:change-theme', {theme: value});", full)
        self.page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=full)
        self.watched.settle()

    def js(self, body: str, value: Any = None, timeout: float = TIMEOUT) -> Any:
        """Run JavaScript that knows `app`, `panel` and `value`, and return what it returns."""
        return self.page.evaluate(FRAME % body, [self.path, timeout, value])

    def _assert_no_problem(self, number: int | None = None) -> None:
        problems = self.problems(number)
        assert not problems, "\n".join(problems)

    def _wait(self) -> Notebook:
        self.page.wait_for_function(OPENED, arg=self.path)
        self.js(KERNEL)
        return self
