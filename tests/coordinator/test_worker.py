"""Workers over real sockets: killed, cut off, with a wrong clock; a task ends once whatever happens."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

import pytest

from aggrkit.coordinator import Keys, Server, Task, TaskQueue, Worker
from aggrkit.coordinator.execution import Ran, execute
from aggrkit.errors import ProtocolError
from aggrkit.store import BenchmarkDBManager


@pytest.fixture(scope="module")
def served():
    queue = TaskQueue(lease_seconds=1.5)
    with BenchmarkDBManager(":memory:") as store, Server(store, port=0, queue=queue).running() as server:
        yield server


@pytest.fixture
def queue(served):
    queue = served.queue
    queue.cancel([task.task_id for task in queue.waiting()])
    for worker in queue.workers():
        queue.leave(worker.worker_id)
    return queue


async def quick(task):
    return Ran(True, 0.01, [{"latency_ms": 3.0}])


def tasks(run, count, **more):
    return [
        Task(f"{run}-{k}", labels={"model": "bert", "result_type": "performance"}, run_id=run, **more)
        for k in range(count)
    ]


def stored(served, run):
    with_run = served.store.get_performance_results(filter_params={"run_id": run})
    return sorted(result["result_id"] for result in with_run)


async def until_done(queue, run):
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(queue.wait, run, 0.2):
            pass


def test_workers_run_what_they_can(served, queue):
    async def run():
        queue.add(tasks("plain", 4, hardware=("cpu",)) + [Task("plain-cuda", hardware=("cuda",), run_id="cuda")])
        workers = [Worker(served.url, hardware=["cpu"], name=name, execute=quick) for name in ("a", "b")]
        running = [asyncio.create_task(worker.run()) for worker in workers]
        await until_done(queue, "plain")
        for worker in workers:
            worker.stop()
        await asyncio.gather(*running)
        return [worker.finished for worker in workers]

    assert sum(asyncio.run(run())) == 4
    assert stored(served, "plain") == [f"plain-{k}" for k in range(4)]
    assert queue.counts("cuda")["waiting"] == 1
    assert queue.workers() == []  # they said goodbye
    record = served.store.get_performance_results(filter_params={"run_id": "plain"})[0]
    assert (record["model_id"], record["hardware_id"]) == ("bert", "cpu")
    assert record["worker_id"] in ("a", "b")


def test_a_worker_that_is_killed_in_the_middle_of_its_task(served, queue, tmp_path):
    mark = tmp_path / "began"
    program = (
        f"import pathlib, time; mark = pathlib.Path({str(mark)!r}); again = mark.exists(); mark.touch();"
        " time.sleep(0 if again else 20); print('{\"latency_ms\": 4.0}')"
    )
    payload = {"command": [sys.executable, "-c", program]}
    labels = {"model": "bert", "result_type": "performance"}
    queue.add([Task("killed-0", payload, run_id="killed", labels=labels)])

    async def run():
        command = ["-m", "aggrkit", "worker", served.url, "--name"]
        first = await asyncio.create_subprocess_exec(sys.executable, *command, "first", start_new_session=True)
        async with asyncio.timeout(120):
            while not mark.exists():
                await asyncio.sleep(0.05)
        os.kill(first.pid, signal.SIGKILL)
        await first.wait()
        second = Worker(served.url, hardware=["cpu"], name="second")
        await asyncio.wait_for(second.run(most=1), 60)

    asyncio.run(run())
    outcome = queue.outcomes("killed")["killed-0"]
    assert (outcome.status, outcome.worker_id, outcome.attempts) == ("done", "second", 2)
    assert stored(served, "killed") == ["killed-0"]
    said = "\n".join(queue.log.report())
    assert "worker first is silent" in said
    assert "task killed-0 will be run again: worker first was silent for more than 1.5 s" in said


class Cable:
    """A way to the server that can be cut: what is sent then neither arrives nor fails."""

    def __init__(self, port):
        self.port, self.whole = port, asyncio.Event()
        self.whole.set()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.connect, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *error):
        self.server.close()

    async def connect(self, reader, writer):
        there, back = await asyncio.open_connection("127.0.0.1", self.port)
        await asyncio.gather(self.carry(reader, back), self.carry(there, writer), return_exceptions=True)

    async def carry(self, source, target):
        try:
            while data := await source.read(65536):
                await self.whole.wait()
                target.write(data)
                await target.drain()
        finally:
            target.close()


@pytest.mark.slow
def test_a_partition_of_ten_seconds(served, queue):
    async def slow(task):
        await asyncio.sleep(1.0)
        return Ran(True, 1.0, [{"latency_ms": 5.0}])

    async def run():
        queue.add(tasks("cut", 6))
        async with Cable(served.port) as cable:
            away = Worker(cable.url, hardware=["cpu"], name="away", execute=slow)
            here = Worker(served.url, hardware=["cpu"], name="here", execute=slow)
            running = [asyncio.create_task(away.run())]
            while not queue.leases():
                await asyncio.sleep(0.01)
            cable.whole.clear()
            running.append(asyncio.create_task(here.run()))
            await asyncio.sleep(10)
            assert queue.counts("cut")["done"] >= 5  # the run went on without it
            cable.whole.set()
            await until_done(queue, "cut")
            while not {"duplicate", "late"} & {event.kind for event in queue.log.since()}:
                await asyncio.sleep(0.05)  # what it brings when it is back
            for worker in (away, here):
                worker.stop()
            await asyncio.wait_for(asyncio.gather(*running), 30)

    asyncio.run(run())
    assert queue.counts("cut")["done"] == 6
    assert stored(served, "cut") == [f"cut-{k}" for k in range(6)]
    said = "\n".join(queue.log.report())
    assert "worker away is silent" in said
    assert "will be run again: worker away was silent" in said
    assert "worker away is back" in said


def test_a_clock_that_is_off_by_an_hour(served, queue):
    async def run():
        queue.add(tasks("clock", 2))
        worker = Worker(
            served.url, hardware=["cpu"], name="early", execute=quick, wall_clock=lambda: time.time() + 3600
        )
        await asyncio.wait_for(worker.run(most=2), 30)

    began = time.time()
    asyncio.run(run())
    assert queue.counts("clock")["done"] == 2
    told = [words for words in queue.log.report() if "early" in words and "clock" in words]
    assert len(told) == 1
    assert "s ahead of this one: its times are not used" in told[0]
    for result in served.store.get_performance_results(filter_params={"run_id": "clock"}):
        assert began - 5 < result["timestamp"].timestamp() < time.time() + 5


def test_a_server_that_forgot_its_worker(served, queue):
    async def run():
        worker = Worker(served.url, hardware=["cpu"], name="forgotten", execute=quick)
        running = asyncio.create_task(worker.run())
        while queue.worker("forgotten") is None:
            await asyncio.sleep(0.01)
        queue.leave("forgotten")
        queue.add(tasks("forgot", 1))
        await until_done(queue, "forgot")
        worker.stop()
        await running

    asyncio.run(run())
    assert queue.counts("forgot")["done"] == 1


def test_what_is_cancelled_is_stopped(served, queue):
    ended = []

    async def endless(task):
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(task["task_id"])

    async def run():
        worker = Worker(served.url, hardware=["cpu"], name="stopped", execute=endless)
        queue.add(tasks("cancel", 1))
        running = asyncio.create_task(worker.run())
        while not queue.leases():
            await asyncio.sleep(0.01)
        queue.cancel(["cancel-0"])
        async with asyncio.timeout(20):
            while not ended:
                await asyncio.sleep(0.02)
        worker.stop()
        await running

    asyncio.run(run())
    assert ended == ["cancel-0"]


def test_results_that_can_not_be_stored_fail_the_task(served, queue):
    async def bad(task):
        return Ran(True, 0.1, [{"latency_ms": 1.0, "": 2.0}])

    async def run():
        queue.add(tasks("bad", 1))
        await asyncio.wait_for(Worker(served.url, hardware=["cpu"], name="bad", execute=bad).run(most=1), 30)

    asyncio.run(run())
    outcome = queue.outcomes("bad")["bad-0"]
    assert outcome.status == "failed"
    assert "its results were refused" in outcome.error


def test_a_worker_needs_a_key_that_may_submit():
    keys = Keys.of({"a": {"key": "reader", "role": "read"}})
    with BenchmarkDBManager(":memory:") as store, Server(store, port=0, keys=keys).running() as server:
        for key, code in (("reader", "forbidden"), ("wrong", "auth_failed"), (None, "auth_required")):
            with pytest.raises(ProtocolError) as caught:
                asyncio.run(asyncio.wait_for(Worker(server.url, key).run(), 20))
            assert caught.value.code == code


def ran(task):
    return asyncio.run(execute(task))


def python(program):
    return {"command": [sys.executable, "-c", program]}


def test_a_command_says_its_results_in_its_last_line():
    found = ran(
        {
            **python("import os; print('hello'); print(os.environ['AGGRKIT_PARAMETERS'])"),
            "parameters": {"latency_ms": 2},
        }
    )
    assert found.success
    assert list(found.results) == [{"latency_ms": 2}]
    assert found.seconds > 0


def test_a_function_returns_its_results(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "import time\n"
        "def timed(n):\n    time.sleep(0.2)\n    return [{'latency_ms': n}, {'latency_ms': 2 * n}]\n"
        "def number():\n    return 3.5\n"
        "def nothing():\n    print('words')\n"
        "def wrong():\n    raise ValueError('no such device')\n"
    )
    monkeypatch.chdir(tmp_path)
    found = ran({"callable": "mine:timed", "parameters": {"n": 4}})
    assert list(found.results) == [{"latency_ms": 4}, {"latency_ms": 8}]
    assert 0.2 <= found.seconds < 0.2 + 5  # without the start of Python
    assert list(ran({"callable": "mine:number"}).results) == [{"value": 3.5}]
    assert (
        ran({"callable": "mine:nothing"}) == Ran(True, pytest.approx(0, abs=5), ({},))
        or ran({"callable": "mine:nothing"}).success
    )
    failed = ran({"callable": "mine:wrong"})
    assert not failed.success
    assert failed.error == "it ended with 1: ValueError: no such device"


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({}, "neither a command"),
        ({"command": "echo hello"}, "neither a command"),
        ({"callable": "mine"}, "neither a command"),
        ({"command": ["/nonesuch/program"]}, "can't be run"),
        ({"callable": "nonesuch_module:f"}, "No module named"),
        (python("import sys; sys.exit(3)"), "it ended with 3: it wrote nothing"),
        (python("import os; os.abort()"), f"it ended with {-signal.SIGABRT}"),
        (python("print('[1, 2]')"), "neither an object nor a list of objects"),
        (
            {**python("import time; time.sleep(60)"), "timeout_seconds": 0.3},
            "it took longer than 0.3 s, and was stopped",
        ),
    ],
)
def test_tasks_that_fail_say_why(task, words):
    found = ran(task)
    assert not found.success
    assert words in found.error
    assert found.results == ()


def test_words_for_people_are_no_results():
    assert ran(python("print('all 12 tests passed')")) == Ran(True, pytest.approx(0, abs=20))
