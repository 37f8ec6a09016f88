"""What moves in the coast scene: a yacht with its reflection, and gulls."""

from __future__ import annotations

import numpy as np

from monitor.demo.shapes import Canvas, Sprite


def yacht(scale: float) -> tuple[Sprite, Sprite]:
    """A sloop under full sail, lit from behind, and its reflection."""
    canvas = Canvas(round(190 * scale), round(250 * scale))

    def at(*points: tuple[float, float]) -> list[tuple[float, float]]:
        return [(x * scale, y * scale) for x, y in points]

    canvas.polygon(
        at((94, 8), (99, 40), (104, 100), (104, 150), (98, 196), (30, 200), (52, 130), (76, 62)),
        (0.90, 0.74, 0.62),
    )
    canvas.polygon(at((94, 8), (76, 62), (52, 130), (30, 200), (44, 199), (66, 130), (84, 64)), (0.72, 0.56, 0.50))
    canvas.polygon(at((100, 20), (122, 84), (146, 150), (166, 202), (108, 194), (110, 110)), (0.97, 0.82, 0.66))
    canvas.polygon(at((100, 20), (122, 84), (146, 150), (166, 202), (150, 200), (128, 130)), (0.82, 0.64, 0.54))
    for y in range(50, 190, 22):
        canvas.line(at((94 - (y - 8) * 0.32, y), (103, y + 4)), 0.8 * scale, (0.62, 0.48, 0.44))
    canvas.line(at((99, 4), (101, 210)), 2.6 * scale, (0.28, 0.22, 0.22))
    canvas.line(at((99, 202), (28, 204)), 2.2 * scale, (0.30, 0.22, 0.20))
    canvas.line(at((99, 6), (172, 212)), 1.0 * scale, (0.25, 0.2, 0.2))
    canvas.line(at((99, 6), (14, 212)), 1.0 * scale, (0.25, 0.2, 0.2))
    canvas.polygon(at((8, 212), (178, 210), (164, 228), (150, 236), (30, 237), (14, 228)), (0.13, 0.12, 0.17))
    canvas.polygon(at((8, 212), (178, 210), (176, 214), (9, 216)), (0.86, 0.74, 0.66))
    canvas.polygon(at((60, 202), (120, 202), (128, 211), (56, 212)), (0.70, 0.58, 0.52))
    for x in (68, 82, 96):
        canvas.rectangle(x * scale, 205 * scale, 8 * scale, 3 * scale, (0.16, 0.14, 0.18))
    canvas.ellipse(42 * scale, 199 * scale, 4 * scale, 4.5 * scale, (0.30, 0.20, 0.18))
    canvas.line(at((42, 204), (43, 212)), 8 * scale, (0.62, 0.18, 0.14))
    rgb, alpha = canvas.layers()
    squeezed = alpha[::-2][: round(100 * scale)]  # a rippled mirror shows the nearest part only, and blurred
    fade = np.linspace(0.62, 0.0, len(squeezed), dtype=np.float32)[:, None]
    return Sprite(rgb, alpha), Sprite(0.45 * rgb[:, ::-2][:, : len(squeezed)], squeezed * fade)


def gull(scale: float, beat: float) -> Sprite:
    """A gull at ``beat`` (0-1) of a wing stroke."""
    canvas = Canvas(round(64 * scale), round(48 * scale))
    lift = np.sin(2 * np.pi * beat)
    tip = np.sin(2 * np.pi * beat - 0.7)
    body: list[tuple[float, float]] = [(26 * scale, 24 * scale), (39 * scale, 25 * scale)]
    for side in (-1, 1):
        elbow = (32 + side * 12, 22 - 8 * lift)
        end = (32 + side * 28, 22 - 3 * lift - 13 * tip)
        points = [
            (32 * scale, 24 * scale),
            (elbow[0] * scale, elbow[1] * scale),
            (end[0] * scale, end[1] * scale),
        ]
        canvas.line(points, [5.0 * scale, 4.0 * scale, 1.0 * scale], (0.30, 0.27, 0.31))
    canvas.line(body, [4.5 * scale, 6.0 * scale], (0.78, 0.70, 0.68))
    canvas.line([(39 * scale, 25 * scale), (43 * scale, 25.5 * scale)], [3.0 * scale, 1.0 * scale], (0.72, 0.48, 0.24))
    return canvas.sprite()
