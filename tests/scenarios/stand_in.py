"""A stand-in for Prefect's engine in a container.

It reports Running, prints, and reports Completed; it does not need Prefect.
"""

from __future__ import annotations

import shlex

PROGRAM = """
import http.client, json, os, sys, time
from urllib.parse import urlsplit

api, run = urlsplit(os.environ["PREFECT_API_URL"]), os.environ["PREFECT__FLOW_RUN_ID"]

def report(state):
    body = json.dumps({"state": {"type": state, "name": state.title()}})
    for _ in range(200):  # Prefect's server may be busy, or away for a while
        try:
            connection = http.client.HTTPConnection(api.hostname, api.port, timeout=20)
            headers = {"content-type": "application/json"}
            connection.request("POST", f"{api.path}/flow_runs/{run}/set_state", body, headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status < 300 and json.loads(text)["status"] == "ACCEPT":
                return
            print(answer.status, text, file=sys.stderr, flush=True)
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.3)
    sys.exit(9)

report("RUNNING")
for number in range(int(sys.argv[1])):
    print("line", number, flush=True)
    time.sleep(float(sys.argv[2]))
report("COMPLETED")
print("line last", flush=True)
"""


def command(lines: int, seconds: float) -> str:
    """A command line for a container.

    Args:
        lines: How many lines it prints before it reports Completed; it prints one more after that.
        seconds: How long it waits after each.
    """
    return shlex.join(["python", "-I", "-S", "-c", PROGRAM, str(lines), str(seconds)])


def expected(lines: int) -> list[str]:
    """The lines that a container prints."""
    return [*(f"line {number}" for number in range(lines)), "line last"]
