"""What servers answer: status, body, headers."""

import json

Answer = tuple[int, str, dict[str, str]]

BODY = {"time": "1", "value": "验a", "speed_time(ms)": 3, "confidence": 0.9}
GOOD: Answer = (200, json.dumps(BODY), {})
REFUSED: Answer = (422, json.dumps({"error_code": "1003", "message": "wrong size"}), {})
