"""Networks in the style of public ones, written here: detectors, diffusion U-Nets, recurrent networks.

Small, with random weights; each has what makes its kind hard to prune.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv(read: int, write: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, SiLU."""
    return nn.Sequential(
        nn.Conv2d(read, write, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(write),
        nn.SiLU(),
    )


# ---- detectors -------------------------------------------------------------------------------------------


class Bottleneck(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, channels: int, add: bool = True):
        super().__init__()
        self.cv1, self.cv2, self.add = conv(channels, channels), conv(channels, channels), add

    def forward(self, x: Tensor) -> Tensor:
        new = self.cv2(self.cv1(x))
        return x + new if self.add else new


class C2f(nn.Module):
    """Chunk in two, a chain of bottlenecks behind the second half, all concatenated (YOLOv8)."""

    def __init__(self, read: int, write: int, n: int = 1, add: bool = True):
        super().__init__()
        self.c = write // 2
        self.cv1 = conv(read, 2 * self.c, 1)
        self.cv2 = conv((2 + n) * self.c, write, 1)
        self.m = nn.ModuleList(Bottleneck(self.c, add) for _ in range(n))

    def forward(self, x: Tensor) -> Tensor:
        y = list(self.cv1(x).chunk(2, 1))
        y.extend(m(y[-1]) for m in self.m)
        return self.cv2(torch.cat(y, 1))


class C3(nn.Module):
    """Two branches, one through bottlenecks, concatenated (CSP of YOLOv5)."""

    def __init__(self, read: int, write: int, n: int = 1):
        super().__init__()
        half = write // 2
        self.cv1, self.cv2, self.cv3 = conv(read, half, 1), conv(read, half, 1), conv(2 * half, write, 1)
        self.m = nn.Sequential(*(Bottleneck(half) for _ in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class SPPF(nn.Module):
    """Poolings one after the other, concatenated."""

    def __init__(self, channels: int):
        super().__init__()
        self.cv1, self.cv2 = conv(channels, channels // 2, 1), conv(channels * 2, channels, 1)
        self.m = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = [self.cv1(x)]
        y.extend(self.m(y[-1]) for _ in range(3))
        return self.cv2(torch.cat(y, 1))


class AnchorFreeHead(nn.Module):
    """Boxes as distributions over 16 bins, decoupled from the classes; one shared expectation (DFL)."""

    def __init__(self, widths: tuple[int, ...], classes: int = 10, bins: int = 16):
        super().__init__()
        self.bins, self.outputs = bins, classes + 4 * bins
        self.box = nn.ModuleList(nn.Sequential(conv(w, 32), nn.Conv2d(32, 4 * bins, 1)) for w in widths)
        self.cls = nn.ModuleList(nn.Sequential(conv(w, 32), nn.Conv2d(32, classes, 1)) for w in widths)
        self.dfl = nn.Conv2d(bins, 1, 1, bias=False)

    def forward(self, levels: list[Tensor]) -> Tensor:
        flat = [
            torch.cat((b(x), c(x)), 1).flatten(2) for x, b, c in zip(levels, self.box, self.cls, strict=True)
        ]
        box, cls = torch.cat(flat, 2).split((4 * self.bins, self.outputs - 4 * self.bins), 1)
        n, _, places = box.shape
        box = self.dfl(box.view(n, 4, self.bins, places).transpose(2, 1).softmax(1)).view(n, 4, places)
        return torch.cat((box, cls.sigmoid()), 1)


class YoloV8(nn.Module):
    """C2f backbone, SPPF, path aggregation, an anchor-free head."""

    def __init__(self, w: int = 16):
        super().__init__()
        self.stem, self.d1, self.c1 = conv(3, w, 3, 2), conv(w, 2 * w, 3, 2), C2f(2 * w, 2 * w)
        self.d2, self.c2 = conv(2 * w, 4 * w, 3, 2), C2f(4 * w, 4 * w, 2)
        self.d3, self.c3, self.sppf = conv(4 * w, 8 * w, 3, 2), C2f(8 * w, 8 * w), SPPF(8 * w)
        self.up, self.n1 = nn.Upsample(scale_factor=2), C2f(12 * w, 4 * w, add=False)
        self.d4, self.n2 = conv(4 * w, 4 * w, 3, 2), C2f(12 * w, 8 * w, add=False)
        self.head = AnchorFreeHead((4 * w, 8 * w))

    def forward(self, x: Tensor) -> Tensor:
        p2 = self.c2(self.d2(self.c1(self.d1(self.stem(x)))))
        p3 = self.sppf(self.c3(self.d3(p2)))
        n1 = self.n1(torch.cat((self.up(p3), p2), 1))
        return self.head([n1, self.n2(torch.cat((self.d4(n1), p3), 1))])


class YoloV5(nn.Module):
    """Space to depth, C3 stages, an anchored head whose outputs are reshaped to (anchors, 5 + classes)."""

    def __init__(self, w: int = 16, classes: int = 10, anchors: int = 3):
        super().__init__()
        self.anchors = anchors
        self.focus, self.c1 = conv(12, w), C3(w, w)
        self.d2, self.c2 = conv(w, 2 * w, 3, 2), C3(2 * w, 2 * w, 2)
        self.d3, self.c3, self.sppf = conv(2 * w, 4 * w, 3, 2), C3(4 * w, 4 * w), SPPF(4 * w)
        self.lat, self.n1 = conv(4 * w, 2 * w, 1), C3(4 * w, 2 * w)
        self.out = nn.ModuleList(nn.Conv2d(c, anchors * (5 + classes), 1) for c in (2 * w, 4 * w))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = torch.cat((x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]), 1)
        p2 = self.c2(self.d2(self.c1(self.focus(x))))
        p3 = self.sppf(self.c3(self.d3(p2)))
        n1 = self.n1(torch.cat((F.interpolate(self.lat(p3), scale_factor=2), p2), 1))
        found = []
        for level, out in zip((n1, p3), self.out, strict=True):
            y = out(level)
            n, c, h, w = y.shape
            found.append(y.view(n, self.anchors, c // self.anchors, h, w).permute(0, 1, 3, 4, 2))
        return found


class RetinaFpn(nn.Module):
    """Residual stages, a feature pyramid by addition, heads shared by all levels, group normalisation."""

    def __init__(self, w: int = 16, fpn: int = 32, classes: int = 10, anchors: int = 3):
        super().__init__()
        self.stem = conv(3, w, 3, 2)
        self.stages = nn.ModuleList(
            nn.Sequential(conv(w * 2**i, w * 2 ** (i + 1), 3, 2), Bottleneck(w * 2 ** (i + 1)))
            for i in range(3)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(w * 2 ** (i + 1), fpn, 1) for i in range(3))
        self.smooth = nn.ModuleList(nn.Conv2d(fpn, fpn, 3, 1, 1) for _ in range(3))
        tower = [m for _ in range(2) for m in (nn.Conv2d(fpn, fpn, 3, 1, 1), nn.GroupNorm(8, fpn), nn.ReLU())]
        self.tower = nn.Sequential(*tower)
        self.cls, self.box = nn.Conv2d(fpn, anchors * classes, 3, 1, 1), nn.Conv2d(fpn, anchors * 4, 3, 1, 1)
        self.scales = nn.ParameterList(nn.Parameter(torch.ones(1)) for _ in range(3))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x, levels = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        top, found = None, []
        for i in (2, 1, 0):
            top = self.lateral[i](levels[i]) + (0 if top is None else F.interpolate(top, scale_factor=2))
            found.append(self.tower(self.smooth[i](top)))
        cls = torch.cat([self.cls(f).flatten(2) for f in found], 2)
        box = torch.cat([(self.box(f) * s).flatten(2) for f, s in zip(found, self.scales, strict=True)], 2)
        return {"logits": cls, "boxes": box}


class BiFpn(nn.Module):
    """Inverted residuals, and a pyramid whose sums are weighted by learned numbers (EfficientDet)."""

    def __init__(self, w: int = 16, fpn: int = 24, classes: int = 10):
        super().__init__()
        self.stem = conv(3, w, 3, 2)
        self.stages = nn.ModuleList(
            nn.Sequential(conv(w * i, 4 * w * i, 1), conv(4 * w * i, 4 * w * i, 3, 2, 4 * w * i),
                          nn.Conv2d(4 * w * i, w * (i + 1), 1), nn.BatchNorm2d(w * (i + 1)))
            for i in (1, 2, 3)
        )  # fmt: skip
        self.lateral = nn.ModuleList(nn.Conv2d(w * (i + 1), fpn, 1) for i in (1, 2, 3))
        self.weights = nn.Parameter(torch.ones(4, 2))
        self.down = nn.ModuleList(conv(fpn, fpn, 3, 1, fpn) for _ in range(2))
        self.up = nn.ModuleList(conv(fpn, fpn, 3, 1, fpn) for _ in range(2))
        self.depth, self.point = nn.Conv2d(fpn, fpn, 3, 1, 1, groups=fpn), nn.Conv2d(fpn, classes + 4, 1)

    def _mix(self, i: int, a: Tensor, b: Tensor) -> Tensor:
        w = F.relu(self.weights[i])
        return (w[0] * a + w[1] * b) / (w.sum() + 1e-4)

    def forward(self, x: Tensor) -> list[Tensor]:
        x, levels = self.stem(x), []
        for stage, lateral in zip(self.stages, self.lateral, strict=True):
            x = stage(x)
            levels.append(lateral(x))
        low, mid, top = levels
        mid = self.down[0](F.silu(self._mix(0, mid, F.interpolate(top, scale_factor=2))))
        low = self.down[1](F.silu(self._mix(1, low, F.interpolate(mid, scale_factor=2))))
        mid = self.up[0](F.silu(self._mix(2, mid, F.max_pool2d(low, 2))))
        top = self.up[1](F.silu(self._mix(3, top, F.max_pool2d(mid, 2))))
        return [self.point(self.depth(level)) for level in (low, mid, top)]


class Detr(nn.Module):
    """A convolutional backbone, `nn.Transformer`, learned queries (DETR)."""

    def __init__(self, w: int = 16, d: int = 32, heads: int = 4, queries: int = 5, classes: int = 10):
        super().__init__()
        self.backbone = nn.Sequential(conv(3, w, 3, 2), conv(w, 2 * w, 3, 2), conv(2 * w, 4 * w, 3, 2))
        self.proj = nn.Conv2d(4 * w, d, 1)
        self.transformer = nn.Transformer(d, heads, 1, 1, 64, batch_first=True)
        self.query, self.row = nn.Parameter(torch.rand(queries, d)), nn.Parameter(torch.rand(50, d // 2))
        self.col = nn.Parameter(torch.rand(50, d // 2))
        self.cls, self.box = (
            nn.Linear(d, classes + 1),
            nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, 4)),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.proj(self.backbone(x))
        h, w = x.shape[-2:]
        position = torch.cat(
            (self.col[:w][None].expand(h, -1, -1), self.row[:h][:, None].expand(-1, w, -1)), -1
        ).flatten(0, 1)
        memory = x.flatten(2).transpose(1, 2) + position
        found = self.transformer(memory, self.query.expand(len(x), -1, -1))
        return self.cls(found), self.box(found).sigmoid()


# ---- diffusion U-Nets ------------------------------------------------------------------------------------


def timestep(t: Tensor, d: int) -> Tensor:
    """Sines and cosines of a step."""
    at = torch.exp(-math.log(10000) * torch.arange(d // 2, device=t.device) / (d // 2))
    angles = t.to(at.dtype)[:, None] * at
    return torch.cat((angles.sin(), angles.cos()), -1)


class TimeBlock(nn.Module):
    """A residual block that is told the time: by addition, or by scale and shift (a chunk in two)."""

    def __init__(self, read: int, write: int, time: int, *, scale: bool = False, groups: int = 4):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, read), nn.Conv2d(read, write, 3, 1, 1)
        self.time, self.scale = nn.Linear(time, write * (2 if scale else 1)), scale
        self.norm2, self.conv2 = nn.GroupNorm(groups, write), nn.Conv2d(write, write, 3, 1, 1)
        self.skip = nn.Conv2d(read, write, 1) if read != write else nn.Identity()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        h, told = self.conv1(F.silu(self.norm1(x))), self.time(F.silu(t))[:, :, None, None]
        if self.scale:
            scale, shift = told.chunk(2, 1)
            h = self.norm2(h) * (1 + scale) + shift
        else:
            h = self.norm2(h + told)
        return self.skip(x) + self.conv2(F.silu(h))


class Attention2d(nn.Module):
    """Self-attention over positions: one convolution makes queries, keys and values."""

    def __init__(self, channels: int, heads: int = 2, linear: bool = False):
        super().__init__()
        self.heads, self.linear = heads, linear
        self.norm, self.qkv = nn.GroupNorm(4, channels), nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        q, k, v = (part.view(n, self.heads, -1, h * w) for part in self.qkv(self.norm(x)).chunk(3, 1))
        if self.linear:
            mixed = torch.einsum(
                "bhde,bhdn->bhen", torch.einsum("bhdn,bhen->bhde", k.softmax(-1), v), q.softmax(-2)
            )
        else:
            weights = (q.transpose(-1, -2) @ k * q.shape[-2] ** -0.5).softmax(-1)
            mixed = v @ weights.transpose(-1, -2)
        return x + self.out(mixed.reshape(n, -1, h, w))


class CrossAttention(nn.Module):
    """Self-attention, attention to a text, a gated unit (the transformer of latent diffusion)."""

    def __init__(self, channels: int, text: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.n1, self.n2, self.n3 = nn.LayerNorm(channels), nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.q1, self.k1, self.v1 = (nn.Linear(channels, channels, bias=False) for _ in range(3))
        self.q2 = nn.Linear(channels, channels, bias=False)
        self.k2, self.v2 = nn.Linear(text, channels, bias=False), nn.Linear(text, channels, bias=False)
        self.o1, self.o2 = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.up, self.down = nn.Linear(channels, 8 * channels), nn.Linear(4 * channels, channels)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        shape, x = x.shape, x.flatten(2).transpose(1, 2)
        y = self.n1(x)
        x = x + self.o1(self._attend(self.q1(y), self.k1(y), self.v1(y)))
        x = x + self.o2(self._attend(self.q2(self.n2(x)), self.k2(text), self.v2(text)))
        value, gate = self.up(self.n3(x)).chunk(2, -1)
        return (x + self.down(value * F.gelu(gate))).transpose(1, 2).reshape(shape)


class DiffusionUnet(nn.Module):
    """Two levels down and up; what differs is said by the arguments."""

    def __init__(
        self, w: int = 16, *, scale: bool = False, attention: str = "", text: int = 0, learned: bool = False
    ):
        super().__init__()
        self.w, time = w, 4 * w
        self.learned = nn.Parameter(torch.randn(w // 2)) if learned else None
        self.time = nn.Sequential(nn.Linear(w, time), nn.SiLU(), nn.Linear(time, time))
        self.stem, self.down1 = nn.Conv2d(3, w, 3, 1, 1), TimeBlock(w, w, time, scale=scale)
        self.pool, self.down2 = nn.Conv2d(w, 2 * w, 3, 2, 1), TimeBlock(2 * w, 2 * w, time, scale=scale)
        self.mid1, self.mid2 = (TimeBlock(2 * w, 2 * w, time, scale=scale) for _ in range(2))
        self.attention = Attention2d(2 * w, linear=attention == "linear") if attention else None
        self.cross = CrossAttention(2 * w, text) if text else None
        self.up2 = TimeBlock(4 * w, 2 * w, time, scale=scale)
        self.grow, self.up1 = nn.ConvTranspose2d(2 * w, w, 2, 2), TimeBlock(2 * w, w, time, scale=scale)
        self.norm, self.out = nn.GroupNorm(4, w), nn.Conv2d(w, 3, 3, 1, 1)

    def forward(self, x: Tensor, t: Tensor, text: Tensor | None = None) -> Tensor:
        if self.learned is None:
            told = timestep(t, self.w).to(x.dtype)
        else:
            angles = t.to(x.dtype)[:, None] * self.learned
            told = torch.cat((angles.sin(), angles.cos()), -1)
        told = self.time(told)
        one = self.down1(self.stem(x), told)
        two = self.down2(self.pool(one), told)
        mid = self.mid1(two, told)
        if self.attention is not None:
            mid = self.attention(mid)
        if self.cross is not None:
            assert text is not None
            mid = self.cross(mid, text)
        mid = self.up2(torch.cat((self.mid2(mid, told), two), 1), told)
        return self.out(F.silu(self.norm(self.up1(torch.cat((self.grow(mid), one), 1), told))))


# ---- recurrent networks ----------------------------------------------------------------------------------


class Tagger(nn.Module):
    """Embedding, a two-layer LSTM in both directions, a label for every token."""

    def __init__(self, words: int = 50, d: int = 24, hidden: int = 32, labels: int = 10):
        super().__init__()
        self.embedding = nn.Embedding(words, d)
        self.lstm = nn.LSTM(d, hidden, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden, labels)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.lstm(self.embedding(tokens))[0])


class GruClassifier(nn.Module):
    """A layer before, a GRU in time-first order, its last state."""

    def __init__(self, read: int = 12, hidden: int = 64, classes: int = 10):
        super().__init__()
        self.read, self.gru = nn.Linear(read, 32), nn.GRU(32, hidden)
        self.norm, self.head = nn.LayerNorm(hidden), nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        _, last = self.gru(F.relu(self.read(x)).transpose(0, 1))
        return self.head(self.norm(last[-1]))


class Crnn(nn.Module):
    """Convolutions, columns read as a sequence by an LSTM (text recognition)."""

    def __init__(self, w: int = 16, hidden: int = 64, letters: int = 20):
        super().__init__()
        self.body = nn.Sequential(conv(1, w), nn.MaxPool2d(2), conv(w, 2 * w), nn.MaxPool2d((2, 1)))
        self.lstm = nn.LSTM(2 * w * 4, hidden, bidirectional=True, batch_first=True)
        self.head = nn.Linear(2 * hidden, letters)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(self.body(x).flatten(1, 2).transpose(1, 2))[0])


class Seq2Seq(nn.Module):
    """An encoder's state given to a decoder that attends to what was read (dot products)."""

    def __init__(self, words: int = 40, d: int = 16, hidden: int = 32):
        super().__init__()
        self.source, self.target = nn.Embedding(words, d), nn.Embedding(words, d)
        self.encoder, self.decoder = (nn.GRU(d, hidden, batch_first=True) for _ in range(2))
        self.mix, self.head = nn.Linear(2 * hidden, hidden), nn.Linear(hidden, words)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, state = self.encoder(self.source(source))
        read, _ = self.decoder(self.target(target), state)
        context = (read @ memory.transpose(1, 2)).softmax(-1) @ memory
        return self.head(torch.tanh(self.mix(torch.cat((read, context), -1))))


class ConvLstm(nn.Module):
    """A convolutional LSTM cell written by hand (one convolution makes four gates) over a short film."""

    def __init__(self, hidden: int = 16, classes: int = 10):
        super().__init__()
        self.hidden, self.gates = hidden, nn.Conv2d(3 + hidden, 4 * hidden, 3, 1, 1)
        self.head = nn.Linear(hidden, classes)

    def forward(self, film: Tensor) -> Tensor:
        n, steps, _, height, width = film.shape
        h = c = film.new_zeros(n, self.hidden, height, width)
        for step in range(steps):
            i, f, o, g = self.gates(torch.cat((film[:, step], h), 1)).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return self.head(h.mean((2, 3)))
