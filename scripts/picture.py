#!/usr/bin/env python3
"""Draws docs/chat.svg: a real chat in a real terminal.

    scripts/picture.py BINARY MODEL OUT.svg QUESTION...

Starts BINARY run MODEL in a pseudo-terminal of 84 columns, types the questions, reads the screen as a terminal would, and
writes its text as an SVG.
"""
import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time
import unicodedata
from html import escape

COLUMNS, ROWS = 84, 40


def wide(char):
    return unicodedata.east_asian_width(char) in "WF"


class Screen:
    """The part of a terminal that the chat uses."""

    def __init__(self):
        self.rows, self.row, self.column, self.style = [[]], 0, 0, ""

    def put(self, char):
        if self.column >= COLUMNS:
            self.down()
            self.column = 0
        line = self.rows[self.row]
        while len(line) <= self.column:
            line.append((" ", ""))
        line[self.column] = (char, self.style)
        self.column += 1
        if wide(char):
            line.append(("", self.style))
            self.column += 1

    def down(self):
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append([])

    def feed(self, text):
        pattern = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|\x1b.|(.)", re.S)
        for numbers, command, char in pattern.findall(text):
            number = int(numbers) if numbers.isdigit() else 1
            if char == "\n":
                self.down()
            elif char == "\r":
                self.column = 0
            elif char == "\b":
                self.column = max(0, self.column - 1)
            elif char >= " ":
                self.put(char)
            elif command == "m":
                self.style = {"1": "bold", "2": "dim"}.get(numbers, "")
            elif command == "K":
                del self.rows[self.row][self.column:]
            elif command == "J":
                del self.rows[self.row][self.column:], self.rows[self.row + 1:]
            elif command == "C":
                self.column += number
            elif command == "D":
                self.column = max(0, self.column - number)
            elif command == "A":
                self.row = max(0, self.row - number)
            elif command == "B":
                for _ in range(number):
                    self.down()
            elif command == "G":
                self.column = number - 1


def record(binary, model, questions):
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", TOKKI_SEED="1", TOKKI_HISTORY="false")
        os.execv(binary, [binary, "run", model])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    screen, text = Screen(), ""

    def prompts(count):
        nonlocal text
        end = time.time() + 120
        while text.count("\x1b[?2004h") < count and time.time() < end:
            if select.select([terminal], [], [], 0.2)[0]:
                piece = os.read(terminal, 65536).decode("utf8", "replace")
                text += piece
                screen.feed(piece)
        time.sleep(0.2)

    for number, question in enumerate(questions, 1):
        prompts(number)
        os.write(terminal, question.encode() + b"\r")
    prompts(len(questions) + 1)
    os.write(terminal, b"\x04")
    os.waitpid(pid, 0)
    return screen


def svg(screen, command):
    lines = [[(char, "") for char in f"$ {command}"]] + screen.rows
    while lines and not "".join(char for char, _ in lines[-1]).strip(" >"):
        lines.pop()
    width, height = COLUMNS * 8.4 + 32, len(lines) * 19 + 40
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" font-size="14" '
        'font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace">',
        '<rect width="100%" height="100%" rx="8" fill="#16181d"/>',
    ]
    for at, line in enumerate(lines):
        spans, run, style = [], "", None
        for char, own in line + [("", None)]:
            if own != style:
                if run:
                    mark = {"bold": ' font-weight="bold"', "dim": ' fill="#7d8590"'}.get(style, "")
                    spans.append(f"<tspan{mark}>{escape(run)}</tspan>")
                run, style = "", own
            run += char
        if spans:
            out.append(f'<text x="16" y="{at * 19 + 32}" fill="#e6edf3" xml:space="preserve">{"".join(spans)}</text>')
    return "\n".join(out + ["</svg>", ""])


def main():
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    binary, model, path, *questions = sys.argv[1:]
    command = f"tokki run {os.path.basename(model).removesuffix('.gguf')}"
    with open(path, "w", encoding="utf8") as file:
        file.write(svg(record(binary, model, questions), command))


if __name__ == "__main__":
    main()
