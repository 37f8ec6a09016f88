"""What stands and moves in the street scene: facades, trees, lamps, cars and walkers, each on a canvas."""

from __future__ import annotations

import numpy as np

from monitor.demo.shapes import Canvas, Colour, Sprite
from monitor.demo.textures import Field, fractal

_WALLS: tuple[Colour, ...] = (
    (0.66, 0.40, 0.31), (0.78, 0.70, 0.56), (0.60, 0.56, 0.52), (0.83, 0.77, 0.68),
    (0.53, 0.33, 0.27), (0.70, 0.62, 0.47), (0.55, 0.60, 0.62), (0.74, 0.55, 0.42),
)  # fmt: skip
_SIGNS = (
    "CAFE",
    "BOOKS",
    "BAKERY",
    "HOTEL",
    "CINEMA",
    "MARKET",
    "BAR 52",
    "RADIO",
    "FLOWERS",
    "BANK",
    "SHOES",
)
_PAINTS: tuple[Colour, ...] = (
    (0.52, 0.16, 0.14), (0.19, 0.27, 0.40), (0.76, 0.75, 0.72), (0.16, 0.17, 0.19), (0.22, 0.35, 0.29),
    (0.72, 0.56, 0.25), (0.46, 0.47, 0.49),
)  # fmt: skip


def _toned(colour: Colour, gain: float) -> Colour:
    return (min(colour[0] * gain, 1.0), min(colour[1] * gain, 1.0), min(colour[2] * gain, 1.0))


def facade(rng: np.random.Generator, width: int, height: int, s: float) -> Canvas:
    """A house front with windows above a shop; ``s`` is the scale, 1 at 540 rows."""
    canvas = Canvas(width, height)
    wall = _WALLS[int(rng.integers(len(_WALLS)))]
    canvas.rectangle(0, 0, width, height, wall)
    tile = 256
    rows, columns = np.arange(tile)[:, None] // max(1, round(3 * s)), np.arange(tile)[None, :]
    bricks = rng.normal(1.0, 0.05, (tile, tile)).astype(np.float32)
    bricks = bricks[rows % tile, (columns + 4 * (rows % 2)) // max(2, round(8 * s)) % tile]
    canvas.texture(bricks * (1.0 + 0.045 * fractal(rng, tile, tile, 1.2)))
    light, dark = _toned(wall, 1.28), _toned(wall, 0.55)
    canvas.rectangle(0, 0, width, 7 * s, light)
    canvas.rectangle(0, 7 * s, width, 2.5 * s, dark)
    ground = 76 * s
    floors = max(1, round((height - ground - 14 * s) / (float(rng.uniform(50, 58)) * s)))
    floor = (height - ground - 14 * s) / floors
    count = max(2, int(width / (float(rng.uniform(36, 46)) * s)))
    pitch = width / count
    w, h = pitch * float(rng.uniform(0.46, 0.58)), floor * 0.60
    balconies = rng.random() < 0.45
    for level in range(floors):
        top = height - ground - (level + 1) * floor + 0.12 * floor
        canvas.rectangle(0, top + h + 9 * s, width, 1.2 * s, _toned(wall, 0.78))
        for number in range(count):
            _window(canvas, rng, number * pitch + (pitch - w) / 2, top, w, h, s, light)
        if balconies and level % 2 == 0:
            canvas.rectangle(0.04 * width, top + h + 2 * s, 0.92 * width, 2.4 * s, (0.20, 0.19, 0.19))
            canvas.rectangle(0.04 * width, top + h - 13 * s, 0.92 * width, 1.6 * s, (0.14, 0.14, 0.15))
            for x in np.arange(0.045 * width, 0.955 * width, 5.0 * s):
                canvas.rectangle(float(x), top + h - 13 * s, 1.1 * s, 16 * s, (0.14, 0.14, 0.15))
    _shop(canvas, rng, width, height - ground, ground, s)
    canvas.rectangle(0, 0, 1.5 * s, height, (0.1, 0.08, 0.08), 0.35)
    canvas.rectangle(width - 4 * s, 0, 4 * s, height, (0.1, 0.08, 0.1), 0.22)
    return canvas


def _window(
    canvas: Canvas, rng: np.random.Generator, x: float, y: float, w: float, h: float, s: float, light: Colour
) -> None:
    canvas.rectangle(x - 3 * s, y - 3 * s, w + 6 * s, h + 5 * s, light)
    canvas.rectangle(x, y, w, h, (0.15, 0.20, 0.26))
    kind = rng.random()
    if kind < 0.22:
        canvas.rectangle(x, y, w, h, (0.98, 0.82, 0.50), float(rng.uniform(0.6, 0.95)))
    else:
        for strip in range(4):  # the sky in the panes
            bright = float(rng.uniform(0.08, 0.5)) * (1.0 - strip / 5)
            canvas.rectangle(x, y + strip * h / 4, w, h / 4, (0.62, 0.74, 0.86), bright)
    if kind < 0.6:
        cloth: Colour = (0.86, 0.82, 0.74) if rng.random() < 0.7 else (0.62, 0.32, 0.28)
        share = float(rng.uniform(0.12, 0.3))
        canvas.rectangle(x, y, w * share, h, cloth, 0.8)
        canvas.rectangle(x + w * (1 - share), y, w * share, h, cloth, 0.8)
    elif kind < 0.72:
        for blind in range(int(h * 0.6 / (3 * s))):
            canvas.rectangle(x, y + blind * 3 * s, w, 1.8 * s, (0.80, 0.80, 0.78), 0.9)
    canvas.rectangle(x + w / 2 - 0.9 * s, y, 1.8 * s, h, (0.90, 0.89, 0.86))
    canvas.rectangle(x, y + h * 0.36, w, 1.6 * s, (0.90, 0.89, 0.86))
    canvas.rectangle(x, y, w, 2.2 * s, (0.05, 0.05, 0.06), 0.6)
    canvas.rectangle(x - 4 * s, y + h, w + 8 * s, 3 * s, _toned(light, 1.08))
    canvas.rectangle(x - 4 * s, y + h + 3 * s, w + 8 * s, 2.2 * s, (0.08, 0.07, 0.07), 0.45)


def _shop(canvas: Canvas, rng: np.random.Generator, width: int, top: float, height: float, s: float) -> None:
    paint = _PAINTS[int(rng.integers(len(_PAINTS)))]
    canvas.rectangle(0, top, width, height, _toned(paint, 0.75))
    canvas.rectangle(0, top, width, 17 * s, paint)
    canvas.rectangle(0, top + 17 * s, width, 1.5 * s, (0.05, 0.05, 0.06), 0.7)
    name = _SIGNS[int(rng.integers(len(_SIGNS)))]
    letter = 10.5 * s
    ink: Colour = (0.97, 0.95, 0.88) if sum(paint) < 1.9 else (0.12, 0.12, 0.14)
    canvas.text(name, (width - len(name) * letter * 6 / 7) / 2, top + 3.4 * s, letter, ink)
    door = float(rng.uniform(0.08, 0.65)) * width
    panes = max(2, int(width / (58 * s)))
    for number in range(panes):
        x, w = number * width / panes + 4 * s, width / panes - 8 * s
        canvas.rectangle(x, top + 22 * s, w, height - 34 * s, (0.10, 0.11, 0.13))
        for _ in range(16):  # goods and people behind the glass
            tone = rng.uniform(0.15, 0.9, 3)
            gx, gy = x + float(rng.uniform(0, 0.85)) * w, top + float(rng.uniform(30, 54)) * s
            goods = (float(tone[0]), float(tone[1]) * 0.8, float(tone[2]) * 0.6)
            canvas.rectangle(gx, gy, float(rng.uniform(2, 9)) * s, float(rng.uniform(2, 8)) * s, goods, 0.55)
        canvas.rectangle(x, top + 22 * s, w, 7 * s, (1.0, 0.86, 0.60), 0.6)
        canvas.polygon(
            [
                (x + 0.1 * w, top + 22 * s),
                (x + 0.4 * w, top + 22 * s),
                (x, top + height - 12 * s),
                (x, top + 40 * s),
            ],
            (0.75, 0.83, 0.9),
            0.22,
        )
    canvas.rectangle(door, top + 20 * s, 26 * s, height - 20 * s, _toned(paint, 0.5))
    canvas.rectangle(door + 4 * s, top + 25 * s, 18 * s, height - 42 * s, (0.20, 0.24, 0.28))
    canvas.ellipse(door + 22 * s, top + 50 * s, 1.4 * s, 1.4 * s, (0.85, 0.75, 0.45))
    if rng.random() < 0.6:
        cloth = _PAINTS[int(rng.integers(len(_PAINTS)))]
        stripes = int(width / (9 * s))
        for number in range(stripes):
            x, w = number * width / stripes, width / stripes
            stripe = cloth if number % 2 else (0.93, 0.91, 0.86)
            y = top + 19 * s
            canvas.polygon([(x, y), (x + w, y), (x + w, y + 15 * s), (x + w / 2, y + 19 * s), (x, y + 15 * s)], stripe)
        canvas.rectangle(0, top + 36 * s, width, 7 * s, (0.03, 0.03, 0.05), 0.45)


def tree(rng: np.random.Generator, s: float) -> Canvas:
    """A street tree: trunk, branches and a crown of many leaf tufts lit from the upper left."""
    width, height = round(190 * s), round(270 * s)
    canvas = Canvas(width, height)
    foot = (95 * s, 268 * s)
    canvas.line([foot, (93 * s, 170 * s), (96 * s, 110 * s)], [13 * s, 9 * s, 5 * s], (0.25, 0.20, 0.17))
    for tip in ((50, 110), (140, 105), (70, 70), (120, 60)):
        canvas.line([(94 * s, 165 * s), (tip[0] * s, tip[1] * s)], [6 * s, 1.5 * s], (0.23, 0.18, 0.15))
    hue = float(rng.uniform(0.0, 0.14))
    # The crown is a dozen boughs; each is a dark inside under leaves that are brighter towards the sun.
    angles, reach = rng.uniform(0, 2 * np.pi, 13), np.sqrt(rng.uniform(0.0, 1.0, 13))
    boughs = np.stack([95 + 58 * reach * np.cos(angles), 88 + 52 * reach * np.sin(angles)], 1)
    for bx, by in boughs[np.argsort(-boughs[:, 1] - 0.4 * boughs[:, 0])]:
        size = float(rng.uniform(19, 29))
        for _ in range(7):
            x, y = float(rng.normal(bx, size / 2.6)), float(rng.normal(by, size / 2.8))
            canvas.ellipse(x * s, y * s, size / 2 * s, size / 2.4 * s, (0.06, 0.085, 0.04), 0.9)
        for dx, dy in rng.normal(0.0, 0.5, (78, 2)):
            sun = 0.52 - 0.34 * (0.5 * dx + dy) - 0.0022 * (by - 60)
            tone = float(np.clip(sun * rng.uniform(0.7, 1.3), 0.14, 1.1))
            colour = ((0.30 + hue) * tone + 0.03, 0.42 * tone + 0.03, 0.14 * tone + 0.02)
            leaf = float(rng.uniform(1.0, 2.9)) * s
            x, y = float(bx + dx * size) * s, float(by + dy * size) * s
            canvas.ellipse(x, y, leaf * float(rng.uniform(0.8, 1.6)), leaf, colour)
    return canvas


def lamp(s: float) -> Canvas:
    """A street lamp, 26 x 210 at scale 1."""
    canvas = Canvas(round(26 * s), round(210 * s))
    iron: Colour = (0.12, 0.13, 0.14)
    canvas.line([(13 * s, 208 * s), (13 * s, 30 * s)], [5 * s, 3 * s], iron)
    canvas.rectangle(9 * s, 190 * s, 8 * s, 20 * s, iron)
    canvas.polygon([(7 * s, 12 * s), (19 * s, 12 * s), (16.5 * s, 30 * s), (9.5 * s, 30 * s)], (1.0, 0.93, 0.72))
    canvas.polygon([(5 * s, 12 * s), (13 * s, 4 * s), (21 * s, 12 * s)], iron)
    return canvas


def car(rng: np.random.Generator, s: float, paint: Colour | None = None) -> tuple[Sprite, list[Sprite]]:
    """A car driving right: its body, 230 x 84 at scale 1, and its wheel at eight angles."""
    paint = paint or _PAINTS[int(rng.integers(len(_PAINTS)))]
    canvas = Canvas(round(230 * s), round(84 * s))

    def at(*points: tuple[float, float]) -> list[tuple[float, float]]:
        return [(x * s, y * s) for x, y in points]

    canvas.ellipse(115 * s, 77 * s, 112 * s, 6 * s, (0.03, 0.03, 0.04), 0.75)
    body = at(
        (6, 44),
        (20, 36),
        (58, 32),
        (84, 8),
        (96, 5),
        (140, 5),
        (158, 10),
        (182, 33),
        (214, 40),
        (224, 52),
        (224, 66),
        (6, 68),
    )
    canvas.polygon(body, paint)
    canvas.polygon(at((6, 52), (224, 54), (224, 66), (6, 68)), _toned(paint, 0.62))
    canvas.line(at((10, 44), (60, 35), (182, 36), (216, 42)), 1.8 * s, _toned(paint, 1.6))
    canvas.polygon(at((66, 32), (88, 12), (116, 10), (116, 33)), (0.10, 0.13, 0.17))
    canvas.polygon(at((121, 10), (142, 10), (155, 14), (174, 34), (121, 33)), (0.10, 0.13, 0.17))
    canvas.polygon(at((74, 28), (92, 12), (104, 11), (84, 32)), (0.62, 0.72, 0.80), 0.65)
    canvas.polygon(at((128, 10), (138, 10), (148, 33), (134, 33)), (0.62, 0.72, 0.80), 0.5)
    canvas.ellipse(138 * s, 23 * s, 5.5 * s, 6.5 * s, (0.62, 0.46, 0.38))
    canvas.line(at((118, 12), (117, 60)), 1.0 * s, _toned(paint, 0.45))
    canvas.line(at((70, 36), (72, 60)), 1.0 * s, _toned(paint, 0.45))
    canvas.rectangle(102 * s, 40 * s, 9 * s, 2 * s, (0.85, 0.85, 0.85))
    canvas.rectangle(160 * s, 40 * s, 9 * s, 2 * s, (0.85, 0.85, 0.85))
    canvas.polygon(at((210, 42), (222, 48), (214, 51), (206, 46)), (1.0, 0.96, 0.82))
    canvas.polygon(at((6, 45), (14, 41), (15, 50), (6, 51)), (0.80, 0.10, 0.08))
    for x in (50, 178):
        canvas.ellipse(x * s, 64 * s, 21 * s, 19 * s, (0.05, 0.05, 0.05))
    wheels = []
    for step in range(8):
        disc = Canvas(round(34 * s), round(34 * s))
        disc.ellipse(17 * s, 17 * s, 16 * s, 16 * s, (0.07, 0.07, 0.08))
        disc.ellipse(17 * s, 17 * s, 10.5 * s, 10.5 * s, (0.66, 0.67, 0.69))
        for spoke in range(5):
            angle = 2 * np.pi * (spoke / 5 + step / 40)
            end = (17 * s + 9.5 * s * float(np.cos(angle)), 17 * s + 9.5 * s * float(np.sin(angle)))
            disc.line([(17 * s, 17 * s), end], 2.6 * s, (0.20, 0.20, 0.22))
        wheels.append(disc.sprite())
    return canvas.sprite(), wheels


def walker(rng: np.random.Generator, s: float) -> list[Sprite]:
    """A person walking right, at sixteen phases of two steps; 60 x 100 at scale 1."""
    skin: Colour = ((0.87, 0.67, 0.54), (0.55, 0.38, 0.28), (0.75, 0.55, 0.42))[int(rng.integers(3))]
    coat = _PAINTS[int(rng.integers(len(_PAINTS)))]
    legs: Colour = ((0.14, 0.16, 0.24), (0.35, 0.30, 0.25), (0.10, 0.10, 0.11))[int(rng.integers(3))]
    hair: Colour = ((0.13, 0.09, 0.07), (0.45, 0.30, 0.15), (0.62, 0.60, 0.58))[int(rng.integers(3))]
    long_coat, bag = bool(rng.random() < 0.4), bool(rng.random() < 0.5)
    phases = []
    for step in range(16):
        turn = 2 * np.pi * step / 16
        canvas = Canvas(round(60 * s), round(100 * s))
        rise = 1.6 * float(np.cos(2 * turn))
        hip, neck = (30.0, 53.0 - rise), (31.0, 21.0 - rise)
        for side, tone in ((np.pi, 0.7), (0.0, 1.0)):
            swing, lift = float(np.sin(turn + side)), max(0.0, float(np.cos(turn + side)))
            knee = (hip[0] + 9 * swing + 3 * lift, 73.0 - rise - 2 * lift)
            foot = (hip[0] + 15 * swing - 5 * lift, 95.0 - 9 * lift)
            points = [(hip[0] * s, hip[1] * s), (knee[0] * s, knee[1] * s), (foot[0] * s, foot[1] * s)]
            canvas.line(points, [10 * s, 7.5 * s, 5 * s], _toned(legs, tone))
            canvas.line([points[2], ((foot[0] + 6) * s, (foot[1] + 1.5) * s)], 4.5 * s, (0.08, 0.06, 0.05))
        for side, tone in ((0.0, 0.72), (np.pi, 1.12)):  # the far arm, then the body and the near one
            if side:
                hem = (hip[1] + (14 if long_coat else 3)) * s
                spread = (9.5 if long_coat else 7.5) * s
                torso = [(neck[0] * s - 8 * s, (neck[1] + 4) * s), (neck[0] * s + 7.5 * s, (neck[1] + 4) * s)]
                canvas.polygon([*torso, (hip[0] * s + spread, hem), (hip[0] * s - spread, hem)], coat)
                canvas.line([torso[0], torso[1]], 6 * s, coat)
            swing = float(np.sin(turn + side))
            elbow = (neck[0] - 1 + 7 * swing, neck[1] + 18)
            hand = (elbow[0] + 4 + 6 * swing, elbow[1] + 13)
            arm = [(neck[0] * s, (neck[1] + 5) * s), (elbow[0] * s, elbow[1] * s), (hand[0] * s, hand[1] * s)]
            canvas.line(arm, [7 * s, 6 * s, 4.5 * s], _toned(coat, tone))
            canvas.ellipse(arm[2][0], arm[2][1], 2.6 * s, 2.6 * s, skin)
            if bag and side:
                canvas.rectangle(arm[2][0] - 6 * s, arm[2][1] + 2 * s, 12 * s, 13 * s, (0.46, 0.30, 0.18))
        canvas.line([(31 * s, (neck[1] + 2) * s), (31.5 * s, (neck[1] - 6) * s)], 5 * s, skin)
        canvas.ellipse(32 * s, (neck[1] - 11) * s, 6.2 * s, 7.6 * s, skin)
        canvas.ellipse(30.6 * s, (neck[1] - 14) * s, 6.6 * s, 5.8 * s, hair)
        phases.append(canvas.sprite())
    return phases


def put(panorama: Field, layers: tuple[Field, Field], left: int, top: int) -> None:
    """Blend what a canvas holds into (3, H, P) colour that is periodic across; rows outside are cut."""
    rgb, alpha = layers
    first, last = max(0, -top), min(alpha.shape[0], panorama.shape[1] - top)
    columns = (left + np.arange(alpha.shape[1])) % panorama.shape[2]
    rows = slice(top + first, top + last)
    below = panorama[:, rows, columns]
    panorama[:, rows, columns] = below + (rgb[:, first:last] - below) * alpha[first:last]
