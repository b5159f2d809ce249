# mypy: ignore-errors
"""Runs in a virtual environment of its own that has Daytona's SDK (see test_sdk.py).

``drive URL KEY``: everything that the SDK can do which we rely on; prints what it saw as JSON.
``validate FILE``: reads answers of the fake as lines of JSON and checks each with the SDK's models.
"""

import json
import sys


def drive(origin: str, key: str) -> None:
    from daytona import (
        CreateSandboxFromSnapshotParams,
        Daytona,
        DaytonaConfig,
        PtySize,
        SessionExecuteRequest,
    )

    config = DaytonaConfig(
        api_key=key, api_url=f"{origin}/api", target="us", use_deprecated_polling=True
    )
    daytona = Daytona(config)
    seen = {}
    box = daytona.create(
        CreateSandboxFromSnapshotParams(
            env_vars={"OF_BOX": "value"}, labels={"a": "b"}, network_block_all=True
        )
    )
    seen["state"] = str(box.state.value)
    ran = box.process.exec("echo hello; echo $OF_BOX; exit 3")
    seen["exec"] = [ran.exit_code, ran.result]

    box.process.create_session("s1")
    done = box.process.execute_session_command(
        "s1", SessionExecuteRequest(command="X=1; echo out; echo err >&2")
    )
    seen["session"] = [done.exit_code, done.stdout, done.stderr]
    again = box.process.execute_session_command("s1", SessionExecuteRequest(command="echo $X"))
    seen["kept"] = again.stdout
    started = box.process.execute_session_command(
        "s1", SessionExecuteRequest(command="read a; echo got $a; echo e >&2", run_async=True)
    )
    box.process.send_session_command_input("s1", started.cmd_id, "something")
    import asyncio

    streams = {"out": "", "err": ""}

    async def follow() -> None:
        await box.process.get_session_command_logs_async(
            "s1",
            started.cmd_id,
            lambda text: streams.__setitem__("out", streams["out"] + text),
            lambda text: streams.__setitem__("err", streams["err"] + text),
        )

    asyncio.run(follow())
    seen["followed"] = streams
    seen["code"] = box.process.get_session_command("s1", started.cmd_id).exit_code
    seen["commands"] = len(box.process.get_session("s1").commands)
    box.process.delete_session("s1")

    printed = []
    terminal = box.process.create_pty_session("p1", pty_size=PtySize(rows=31, cols=97))
    terminal.wait_for_connection()
    seen["ptys"] = [one.id for one in box.process.list_pty_sessions()]
    box.process.resize_pty_session("p1", PtySize(rows=20, cols=50))
    terminal.send_input("stty size; exit 3\n")
    result = terminal.wait(on_data=printed.append)
    seen["pty"] = [result.exit_code, "20 50" in b"".join(printed).decode()]

    box.fs.upload_file(b"content \x00\xff", "folder/file")
    seen["download"] = box.fs.download_file("folder/file").hex()
    seen["files"] = [[one.name, one.is_dir, one.size] for one in box.fs.list_files("folder")]
    seen["info"] = box.fs.get_file_info("folder/file").permissions
    box.set_labels({"c": "d"})
    box.set_autostop_interval(30)
    seen["list"] = [one.id == box.id for one in daytona.list()]
    box.stop()
    box.start()
    seen["again"] = str(box.state.value)
    box.delete()
    print(json.dumps(seen))


def validate(file: str) -> None:
    import daytona_api_client as api
    import daytona_toolbox_api_client as toolbox

    models = {
        "create": api.Sandbox,
        "get": api.Sandbox,
        "delete": api.Sandbox,
        "start-stop": api.Sandbox,
        "autostop": api.Sandbox,
        "labels": api.SandboxLabels,
        "execute": toolbox.ExecuteResponse,
        "session": toolbox.Session,
        "session-exec": toolbox.SessionExecuteResponse,
        "command": toolbox.Command,
        "pty-create": toolbox.PtyCreateResponse,
        "pty-resize": toolbox.PtySessionInfo,
        "pty-list": toolbox.PtyListResponse,
        "pty": toolbox.PtySessionInfo,
        "file-info": toolbox.FileInfo,
    }
    checked = set()
    for line in open(file):
        route, answer = json.loads(line)
        if route == "list":
            for item in answer["items"]:
                assert api.Sandbox.from_dict(item) is not None
        elif route == "files":
            for item in answer:
                assert toolbox.FileInfo.from_dict(item) is not None
        elif route in models:
            assert models[route].from_dict(answer) is not None
        else:
            continue
        checked.add(route)
    print(json.dumps(sorted(checked)))


if __name__ == "__main__":
    {"drive": drive, "validate": validate}[sys.argv[1]](*sys.argv[2:])
