import { describe, expect, test } from "vitest";
import {
  type Behaviour,
  BREAK_OFF,
  choice,
  chunk,
  completion,
  delta,
  event,
  events,
  json,
  message,
  messageEvents,
  messageUsage,
  namedEvents,
  type Piece,
  sse,
  usage,
} from "../../../src/testing/upstream-answers.ts";
import { anthropic, refusedMessage, refusedStream } from "../behaviours/anthropic.ts";
import { deepseek } from "../behaviours/deepseek.ts";
import { openai } from "../behaviours/openai.ts";
import { failedChoice, openrouter } from "../behaviours/openrouter.ts";
import { vllm } from "../behaviours/vllm.ts";
import type { Provider } from "../provider.ts";
import { buy } from "../server.ts";

const used = { usage: usage(1_000, 100) };
const role = chunk([delta({ role: "assistant", content: "" })]);
const text = chunk([delta({ content: "secret" })]);
const words = "The model's provider failed in the middle of its answer. Nothing was billed.";

describe("an answer that failed costs nothing", () => {
  test.each([
    ["a finish_reason of error", openrouter, sse([role, text, chunk([delta({}, { finishReason: "error" })], used)])],
    ["an error inside a choice", openrouter, sse([role, text, chunk([failedChoice], used)])],
    [
      "the finish_reason insufficient_system_resource",
      deepseek,
      sse([role, text, chunk([delta({}, { finishReason: "insufficient_system_resource" })], used)]),
    ],
    ["an event called error", vllm, events([event(role), event(text), 'event: error\ndata: {"message":"secret"}\n\n'])],
    ["an event called error without data", vllm, events([event(role), event(text), "event: error\n\n"])],
    [
      "an error as an object of its own",
      vllm,
      sse([role, text, { object: "error", message: "secret", type: "InternalServerError", code: 500 }]),
    ],
    ["no text between the role and [DONE]", openai, sse([role])],
    ["[DONE] as the only event", openai, sse([])],
    [
      "an empty finish_reason and the end of its stream",
      vllm,
      sse([role, chunk([delta({ content: "Hi" }, { finishReason: "" })])], { done: false }),
    ],
    ["the end of its stream in the middle of a text", openai, sse([role, text], { done: false })],
  ] as [string, Provider, Behaviour][])("in a stream: %s", async (_name, provider, behaviour) => {
    const { answer, events: received, credits, outcome, requests } = await buy(provider, behaviour, { stream: true });
    expect(answer.status).toBe(200);
    expect(received.at(-1)).toMatchObject({ error: { code: "upstream_error", message: expect.stringContaining("Nothing was billed.") } });
    expect(received.at(-1).error.message).not.toContain("secret");
    expect([credits, outcome, requests.length]).toEqual([0, "failed", 1]);
  });

  test.each([
    ["ends", []],
    ["breaks off", [BREAK_OFF]],
  ] as [string, Piece[]][])("in a stream of two choices that %s after the end of one", async (_how, end) => {
    const pieces = [
      chunk([delta({ content: "secret" }), delta({ content: "secret" }, { index: 1 })]),
      chunk([delta({}, { finishReason: "stop" })], used),
    ];
    const {
      events: received,
      credits,
      outcome,
    } = await buy(openai, events([...pieces.map(event), ...end]), { stream: true, body: { n: 2 } });
    expect(received.at(-1)).toMatchObject({ error: { code: "upstream_error" } });
    expect([credits, outcome]).toEqual([0, "failed"]);
  });

  test("the client of a stream that failed gets Quota's error message, not the provider's", async () => {
    const { events: received } = await buy(openrouter, sse([role, text, chunk([failedChoice])]), { stream: true });
    expect(received.at(-1).error.message).toBe(words);
  });

  test.each([
    ["a finish_reason of error", openrouter, completion({ choices: [choice({ content: "secret" }, { finishReason: "error" })], ...used })],
    [
      "an error inside a choice",
      openrouter,
      completion({ choices: [{ ...choice({ content: "secret" }), error: failedChoice.error }], ...used }),
    ],
    ["an error as an object of its own", vllm, json({ object: "error", message: "secret", code: 500 })],
  ] as [string, Provider, Behaviour][])("in JSON: %s", async (_name, provider, behaviour) => {
    const { answer, credits, outcome } = await buy(provider, behaviour);
    expect([answer.status, answer.json.error.code, credits, outcome]).toEqual([502, "upstream_error", 0, "failed"]);
    expect(answer.text).not.toContain("secret");
  });
});

describe("a Claude answer that was refused", () => {
  const path = "/v1/messages";
  const body = { max_tokens: 1_000 };

  test("before any output costs nothing even when its usage counts tokens, and reaches the client with its stop_details", async () => {
    const whole = await buy(anthropic, refusedMessage(""), { path, body });
    expect([whole.answer.json.stop_reason, whole.answer.json.stop_details.category]).toEqual(["refusal", "cyber"]);
    expect([whole.toldCredits, whole.credits, whole.outcome]).toEqual([0, 0, "completed"]);
    const streamed = await buy(anthropic, refusedStream(""), { path, body, stream: true });
    expect(streamed.events.find(({ type }) => type === "message_delta").delta).toMatchObject({
      stop_reason: "refusal",
      stop_details: { type: "refusal" },
    });
    expect([streamed.toldCredits, streamed.credits, streamed.outcome]).toEqual([0, 0, "completed"]);
  });

  test("after output is billed by Anthropic's usage", async () => {
    for (const stream of [false, true]) {
      const { toldCredits, credits } = await buy(anthropic, stream ? refusedStream("Hello..") : refusedMessage("Hello.."), {
        path,
        body,
        stream,
      });
      expect([toldCredits, credits]).toEqual([5_400, 5_400]);
    }
  });

  test("after hidden thinking is billed, because thinking is output", async () => {
    const [start, ...rest] = messageEvents([], { usage: messageUsage(1_000, 100) }) as { type: string }[];
    const hidden = { type: "content_block_start", index: 0, content_block: { type: "redacted_thinking", data: "x" } };
    const stop = { type: "message_delta", delta: { stop_reason: "refusal", stop_sequence: null }, usage: { output_tokens: 100 } };
    const behaviour = namedEvents([start as object, hidden, { type: "content_block_stop", index: 0 }, stop, rest.at(-1) as object]);
    const { toldCredits, credits } = await buy(anthropic, behaviour, { path, body, stream: true });
    expect([toldCredits, credits]).toEqual([5_400, 5_400]);
    expect((await buy(anthropic, message({ usage: messageUsage(1_000, 100) }), { path, body })).credits).toBe(5_400);
  });
});
