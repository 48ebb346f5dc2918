import { promisify } from "node:util";
import { brotliCompress, deflate, gzip } from "node:zlib";
import { describe, expect, test } from "vitest";
import {
  type Behaviour,
  chunk,
  completion,
  completionChunks,
  event,
  events,
  messageEvents,
  messageUsage,
  namedEvent,
  responseEvents,
  responseUsage,
  sse,
  usage,
} from "../../../src/testing/upstream-answers.ts";
import { anthropic } from "../behaviours/anthropic.ts";
import { openai } from "../behaviours/openai.ts";
import { openrouter, openrouterDone } from "../behaviours/openrouter.ts";
import { vllm } from "../behaviours/vllm.ts";
import type { Provider } from "../provider.ts";
import { type BuyOptions, buy } from "../server.ts";

const chat = [...completionChunks(["Hello", " there."], { usage: usage(1_000, 100) }).map(event), event("[DONE]")];
const message = messageEvents(["Hello"], { usage: messageUsage(1_000, 100) }).map(namedEvent);
const respond = responseEvents(["Hello"], { usage: responseUsage(1_000, 100) }).map(namedEvent);
const stream = true;
const toMessages = { path: "/v1/messages", body: { max_tokens: 1_000 }, stream };
const toResponses = { path: "/v1/responses", stream };

describe("an answer that the provider compresses although the request did not accept compression", () => {
  for (const [encoding, compress] of [
    ["gzip", promisify(gzip)],
    ["br", promisify(brotliCompress)],
    ["deflate", promisify(deflate)],
  ] as const) {
    test(`with ${encoding} is read, and the request had asked for no compression`, async () => {
      const headers = { "content-encoding": encoding };
      const whole = await compress(Buffer.from([...(completion({ usage: usage(1_000, 100) }).body as string[])].join("")));
      const json = await buy(openai, { headers, body: [whole] });
      expect([json.answer.status, json.toldCredits, json.credits, json.requests[0]?.headers["accept-encoding"]]).toEqual([
        200,
        540,
        540,
        "identity",
      ]);
      const streamed = await compress(Buffer.from(chat.join("")));
      const pieces = [streamed.subarray(0, 20), streamed.subarray(20)];
      const inStream = await buy(openai, { headers: { ...headers, "content-type": "text/event-stream" }, body: pieces }, { stream });
      expect([inStream.events.at(-1), inStream.toldCredits, inStream.credits]).toEqual(["[DONE]", 540, 540]);
      const refused = await buy(openai, { status: 400, headers, body: [await compress(Buffer.from('{"error":{"message":"too long"}}'))] });
      expect([refused.answer.status, refused.answer.json.error.message]).toEqual([400, "too long"]);
    });
  }

  test("and that ends before its last byte has failed and costs nothing", async () => {
    const whole = await promisify(gzip)(Buffer.from(chat.join("")));
    const headers = { "content-encoding": "gzip", "content-type": "text/event-stream" };
    const { events: received, credits, outcome } = await buy(openai, { headers, body: [whole.subarray(0, whole.length - 20)] }, { stream });
    expect([received.at(-1).error.code, credits, outcome]).toEqual(["upstream_error", 0, "failed"]);
  });
});

describe("events arrive with each kind of line ending", () => {
  const mixed = (text: string) => {
    let at = 0;
    return text.replaceAll("\n", () => ["\r\n", "\n", "\r"][at++ % 3] as string);
  };
  test.each([
    ["CR LF", (text: string) => text.replaceAll("\n", "\r\n")],
    ["CR", (text: string) => text.replaceAll("\n", "\r")],
    ["CR LF, LF and CR in turn", mixed],
  ] as const)("%s", async (_name, write) => {
    for (const [provider, all, options, credits] of [
      [openai, chat, { stream }, 540],
      [anthropic, message, toMessages, 5_400],
      [openai, respond, toResponses, 540],
    ] as [Provider, string[], BuyOptions, number][]) {
      // One byte a chunk, so that CR and LF of one line ending come in different chunks.
      const bytes = Buffer.from(write(all.join("")));
      const bought = await buy(provider, events(Array.from(bytes, (byte) => Buffer.from([byte]))), options);
      expect([bought.toldCredits, bought.credits, bought.countedBy]).toEqual([credits, credits, "provider"]);
      expect(JSON.stringify(bought.events)).toContain("Hello");
    }
  });
});

describe("a stream ends", () => {
  const open = (pieces: readonly string[]): Behaviour =>
    events(
      (async function* () {
        yield* pieces;
        await new Promise(() => {});
      })(),
    );
  const items = respond.slice(0, -1);

  test.each([
    [
      "with [DONE] and a space, while the connection stays open",
      openai,
      open([...chat.slice(0, -1), "data: [DONE] \n\n"]),
      { stream },
      540,
    ],
    ["a short while after its finish_reason and usage, while the connection stays open", vllm, open(chat.slice(0, -1)), { stream }, 1_440],
    ["a short while after its stop_reason, while the connection stays open", anthropic, open(message.slice(0, -1)), toMessages, 5_400],
    ["with response.done in place of response.completed", openrouter, openrouterDone, toResponses, 5_400],
  ] as [string, Provider, Behaviour, BuyOptions, number][])("%s", async (_name, provider, behaviour, options, credits) => {
    const bought = await buy(provider, behaviour, options);
    expect([bought.toldCredits, bought.credits, bought.outcome, bought.countedBy]).toEqual([credits, credits, "completed", "provider"]);
    expect(JSON.stringify(bought.events)).toContain("Hello");
  });

  test("a short while after its finish_reason when no usage comes, and Quota counts its tokens", async () => {
    const bought = await buy(vllm, open(chat.slice(0, -2)), { stream });
    expect([bought.toldCredits, bought.outcome, bought.countedBy, bought.outputTokens]).toEqual([
      bought.credits,
      "completed",
      "tokenizer",
      3,
    ]);
    expect(bought.events.at(-1)).toBe("[DONE]");
  });

  test.each([
    ["when the connection ends", events(items)],
    ["with [DONE]", open([...items, event("[DONE]")])],
  ])("of a response after the last item %s, and Quota adds response.completed", async (_name, behaviour) => {
    const bought = await buy(vllm, behaviour, toResponses);
    const last = bought.events.at(-1);
    expect(last).toMatchObject({ type: "response.completed", response: { status: "completed", output: [{ status: "completed" }] } });
    expect([last.quota.credits_used, last.response.quota.credits_used, bought.countedBy]).toEqual([
      bought.credits,
      bought.credits,
      "tokenizer",
    ]);
    expect(last.sequence_number).toBe(bought.events.length - 1);
  });

  test("of a response within an item with a failure that costs nothing", async () => {
    const bought = await buy(vllm, events([...respond.slice(0, -2), event("[DONE]")]), toResponses);
    expect([bought.events.at(-1).type, bought.credits, bought.outcome]).toEqual(["error", 0, "failed"]);
  });

  test("with [DONE] after a usage chunk", async () => {
    const bought = await buy(openai, sse([...completionChunks(["Hello"]), chunk([], { usage: usage(1_000, 100) })]), { stream });
    expect(bought.toldCredits).toBe(540);
  });
});
