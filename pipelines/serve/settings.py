"""Limits of the server: how much it reads, keeps, computes and waits."""

from dataclasses import dataclass, fields

from grounding.errors import PromptError

__all__ = ["MIB", "Settings"]

MIB = 2**20
LEAST_CONNECTIONS = 256
PILLOW_WARNS = 89_478_485  # pixels: PIL.Image.MAX_IMAGE_PIXELS, above which Pillow warns of a bomb


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one server allows.

    Attributes:
        token: What clients must send as `Authorization: Bearer`; None: nothing.
        hosts: Names by which clients may call the server (the `Host` header, without its port);
            empty: any. On loopback it keeps web pages out that point their own name at 127.0.0.1.
        image_bytes: Largest body of an upload.
        json_bytes: Largest body of any other request.
        pixels: Largest image, width x height; read from its header before it is decoded.
        images: Images kept encoded; the least recently used one makes room.
        image_cache_bytes: What they may take in memory.
        sessions: Interactive sessions kept; the least recently used one makes room.
        session_cache_bytes: What they may take in memory, their images aside.
        rounds: Rounds of marks that one session keeps.
        idle_s: Images and sessions that nobody used for so many seconds are forgotten.
        waiting: Requests in the house at one time; further ones are told to come back. New pictures
            have three quarters of these places, what goes on with those that are here has all.
        seconds: Longest time from a request's first byte to its answer.
        connections_per_address: Connections from one address; None: half of all, and all of them
            from this machine.
        origins: Web pages (`Origin` headers) that may ask, beside the server's own.
        head_s: Longest time from a connection's begin to a whole request head.
        stall_s: Longest time in which a client may neither send nor take anything.
        grace_s: Time from the signal to stop, when `/readyz` says so, to that when it does.
        body_bytes: Bodies of all requests together.
        answer_bytes: Answers that are being sent, together; the oldest one makes room.
        work_bytes: Most memory that panoptic, instances, semantic or find may need for full-size
            masks.
    """

    token: str | None = None
    hosts: tuple[str, ...] = ()
    image_bytes: int = 16 * MIB
    json_bytes: int = 2 * MIB
    pixels: int = 4096 * 4096
    images: int = 256
    image_cache_bytes: int = 2048 * MIB
    sessions: int = 256
    session_cache_bytes: int = 256 * MIB
    rounds: int = 100
    idle_s: float = 3600.0
    waiting: int = 64
    seconds: float = 60.0
    connections_per_address: int | None = None
    origins: tuple[str, ...] = ()
    head_s: float = 10.0
    stall_s: float = 20.0  # Apache's mod_reqtimeout
    grace_s: float = 0.0
    body_bytes: int = 256 * MIB
    answer_bytes: int = 256 * MIB
    work_bytes: int = 8192 * MIB

    @property
    def session_bytes(self) -> int:
        """What one session may take: four that take all of theirs push none out."""
        return self.session_cache_bytes // 4

    @property
    def connections(self) -> int:
        """Connections at one time: who is told to come back needs one, too."""
        return max(LEAST_CONNECTIONS, 4 * self.waiting)

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "grace_s" and value == 0:
                continue
            if isinstance(value, (int, float)) and not value > 0:
                raise PromptError(f"the server's limit {field.name!r} must be above 0; got {value}")
        if self.pixels > PILLOW_WARNS:
            raise PromptError(
                f"images have at most {PILLOW_WARNS} pixels, Pillow's own limit; got {self.pixels}"
            )
        if self.token is not None and not (self.token.isascii() and self.token.isprintable()):
            raise PromptError("a token is printable ASCII, since it travels in a header")
        if self.token is not None and (not self.token or " " in self.token):
            raise PromptError("a token needs characters, none of them a space")
