"""The built wheel, installed where nothing of the checkout is in reach, does what the README says."""

import json
import os
import signal
import site
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
APP = """
from dataclasses import dataclass
import engine as wf

app = wf.WorkflowRuntime()

@dataclass
class Order:
    item: str
    count: int

@app.activity
def pack(ctx: wf.WorkflowActivityContext, order: Order) -> str:
    return f"{order.count} x {order.item}"

@app.workflow
def order(ctx: wf.WorkflowContext, order: Order):
    packed = yield ctx.call_activity(pack, input=order)
    return {"packed": packed}
"""


def run(*words: str | Path, folder: Path, **more: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH" and not k.startswith("ENGINE_")}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env=environment | more,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, ROOT, folder=target)
    (found,) = target.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel; its dependencies are those of the tests."""
    folder = tmp_path_factory.mktemp("project")
    venv.create(folder / "env", with_pip=False, symlinks=True)
    binaries = folder / "env" / "bin"
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        binaries / "python",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        wheel,
        folder=folder,
    )
    (packages,) = (folder / "env" / "lib").glob("python*/site-packages")
    # A plain path line: it brings the dependencies, but runs no .pth of theirs, so not the editable install.
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return binaries


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APP)
    return tmp_path


@pytest.fixture
def worker(installed: Path, project: Path) -> Iterator[subprocess.Popen[str]]:
    words = [str(installed / "engine"), "dev", "shop:app"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH" and not k.startswith("ENGINE_")}
    process = subprocess.Popen(
        words, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    said = ""
    while "ready" not in said:
        line = process.stdout.readline()
        assert line, f"engine dev ended: {said}"
        said += line
    yield process
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=20)[0]
    assert process.returncode == 0, output


def test_the_wheel_carries_every_schema_and_the_marker_of_its_types(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    schemas = {str(path.relative_to(ROOT)) for path in (ROOT / "schemas").rglob("*.avsc")}

    assert {name for name in names if name.endswith(".avsc")} == {f"engine/{name}" for name in schemas}
    assert "engine/py.typed" in names


def test_the_installed_package_is_the_wheels_and_has_its_schemas(installed: Path, project: Path) -> None:
    code = (
        "import engine, engine.codec.avro as a; print(engine.__file__); print(len(a.terminal_fingerprints))"
    )
    where, count = run(installed / "python", "-c", code, folder=project).splitlines()

    assert Path(where).is_relative_to(installed.parent)
    assert int(count) == 4


def test_a_workflow_runs_from_an_installed_wheel(
    installed: Path, project: Path, worker: subprocess.Popen[str]
) -> None:
    engine = installed / "engine"
    order = json.dumps({"item": "tea", "count": 2})
    run(
        engine,
        "start",
        "order",
        "--id",
        "order-1",
        "--input",
        order,
        "--wait",
        "--timeout",
        "60",
        folder=project,
    )
    shown = json.loads(run(engine, "get", "order-1", "-o", "json", folder=project))

    assert (shown["runtime_status"], json.loads(shown["serialized_output"])) == (
        "COMPLETED",
        {"packed": "2 x tea"},
    )
