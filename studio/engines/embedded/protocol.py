"""What may be asked, and the words of a refusal. Only what is obeyed is accepted: an unknown key is a 400, never ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from msgspec import UNSET, DecodeError, Meta, Struct, UnsetType, ValidationError, json

NAMED_ERRORS = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 500: "server_error", 503: "loading"}


class RefusedError(Exception):
    """A request that gets an error for an answer."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class TextPart(Struct, forbid_unknown_fields=True):
    type: Literal["text"]
    text: str


class ChatMessage(Struct):
    role: Literal["system", "user", "assistant"]
    content: str | list[TextPart]

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class Sampling(Struct, kw_only=True, forbid_unknown_fields=True):
    """How a reply is drawn. Field names are OpenAI's, those after ``seed`` are vLLM's."""

    model: str
    temperature: Annotated[float, Meta(ge=0, le=100)] = 1.0
    top_p: Annotated[float, Meta(gt=0, le=1)] = 1.0
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] = 0.0
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] = 0.0
    stop: str | list[str] | None = None
    seed: int | None = None
    n: Annotated[int, Meta(ge=1, le=1)] = 1
    user: str = ""
    top_k: Annotated[int, Meta(ge=-1)] = -1
    """0 and -1: no limit."""
    min_p: Annotated[float, Meta(ge=0, le=1)] = 0.0
    repetition_penalty: Annotated[float, Meta(gt=0, le=100)] = 1.0
    stop_token_ids: list[int] = []
    ignore_eos: bool = False
    min_tokens: Annotated[int, Meta(ge=0)] = 0

    @property
    def stops(self) -> list[str]:
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return [text for text in given if text]


class StreamOptions(Struct, forbid_unknown_fields=True):
    include_usage: bool = False


class ChatRequest(Sampling, kw_only=True):
    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] = 0
    add_generation_prompt: bool = True
    continue_final_message: bool = False


class CompletionRequest(Sampling, kw_only=True):
    prompt: str | Annotated[list[int], Meta(min_length=1)]
    max_tokens: Annotated[int, Meta(ge=0)] = 16
    echo: bool = False
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    add_special_tokens: bool = True
    stream: Literal[False] = False


class TokenizeRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    model: str
    prompt: str | UnsetType = UNSET
    messages: list[ChatMessage] | UnsetType = UNSET
    add_special_tokens: bool = True
    add_generation_prompt: bool = True
    return_token_strs: bool = False


T = TypeVar("T")


def parse(body: bytes, kind: type[T]) -> T:
    """The body as that request, or a 400 naming what is wrong with it."""
    try:
        return json.decode(body, type=kind)
    except ValidationError as error:
        words = str(error)
        if "contains unknown field" in words:
            raise RefusedError(f"{words}: this engine does not know that key, and keys it would not obey are refused.") from error
        raise RefusedError(f"{words}.") from error
    except (DecodeError, UnicodeDecodeError) as error:
        raise RefusedError(f"The body is not JSON: {error}.") from error


def error_body(message: str, status: int) -> dict[str, Any]:
    """An error as OpenAI writes it."""
    return {"error": {"message": message, "type": NAMED_ERRORS.get(status, "invalid_request_error"), "code": status}}
