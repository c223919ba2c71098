"""What stands in a report for something private."""

from __future__ import annotations

TOKEN, USER, PHONE = "<token>", "<user>", "<phone>"
HOST, HOME, EMAIL, IP, MAC = "<host>", "<home>", "<email>", "<ip>", "<mac>"
PROJECT, VENV, CACHE, MODEL, ELSEWHERE = "<project>", "<venv>", "<cache>", "<model>", "<path>"
