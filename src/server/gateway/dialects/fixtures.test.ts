import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { runCut } from "#testing/cut-stream.ts";
import { countTextTokens } from "../../pricing/tokens.ts";
import { ChatMeter } from "./chat-meter.ts";
import type { EventMeter } from "./event-meter.ts";
import { MessagesMeter } from "./messages-meter.ts";
import { ResponsesMeter } from "./responses-meter.ts";

/** Streams in the formats of providers; see fixtures/README.md. */
const folder = new URL("fixtures/", import.meta.url);
const bytesOf = (name: string) => readFileSync(new URL(`${name}.sse`, folder));

const QUOTA = '{"credits_used":5}';
const quota = { credits_used: 5 };

const chat = () => new ChatMeter({ includeUsage: false });
const messages = () => new MessagesMeter();
const responses = () => new ResponsesMeter();

/** `usage`: tokens of the prompt, of these read from the cache, written to it, written for an hour; and output. `texts`: the model's texts, each counted separately. */
const complete: { name: string; meter: () => EventMeter; usage: [number, number, number, number, number]; texts: string[] }[] = [
  {
    name: "openai-chat",
    meter: chat,
    usage: [1310, 1152, 0, 0, 19],
    texts: ['A red fox 🦊 sat in the café. It wrote "usage":{} and [DONE].'],
  },
  {
    name: "openai-chat-tools",
    meter: chat,
    usage: [96, 0, 0, 0, 45],
    texts: ["look_up_tide", '{"harbour":"Tromsø","day":2}', "look_up_tide", '{"harbour":"Ostia"}'],
  },
  { name: "gemini-chat", meter: chat, usage: [14, 0, 0, 0, 124], texts: ["Two herons waded past the jetty at dusk."] },
  { name: "groq-chat", meter: chat, usage: [38, 0, 0, 0, 6], texts: ["Bring a lantern and rope."] },
  {
    name: "deepseek-chat-reasoning",
    meter: chat,
    usage: [29, 0, 0, 0, 11],
    texts: ["Seven boats, two leave.", "Five remain."],
  },
  { name: "openrouter-chat", meter: chat, usage: [21, 16, 0, 0, 7], texts: ["The ferry leaves at nine."] },
  {
    name: "anthropic-messages-thinking-tool",
    meter: messages,
    usage: [2760, 2048, 200, 100, 97],
    texts: [
      "The harbour is Tromsø, so ask for the tide.",
      'I will look up the tide 🌊 for you, not "error":{}.',
      "look_up_tide",
      '{"harbour": "Tromsø"}',
    ],
  },
  {
    name: "openai-responses-reasoning",
    meter: responses,
    usage: [57, 32, 0, 0, 139],
    texts: ["**Counting gulls**\n\nFour on the mast, one on the rail.", 'Five gulls 🐦 in all, "type":"response.completed".'],
  },
];

const broken: { name: string; meter: () => EventMeter; failure: EventMeter["failure"]; fails: string; text: string }[] = [
  {
    name: "openrouter-chat-error",
    meter: chat,
    failure: { message: "Provider disconnected", status: 502 },
    fails: '"finish_reason":"error"',
    text: "The ferry",
  },
  {
    name: "anthropic-messages-overloaded",
    meter: messages,
    failure: { message: "Overloaded", status: null },
    fails: "event: error",
    text: "Low water is at",
  },
  {
    name: "openai-responses-failed",
    meter: responses,
    failure: { message: "Rate limit reached for gpt-5-mini", status: 429 },
    fails: "event: response.failed",
    text: "Five",
  },
];

test("every stream of the folder is tested here", () => {
  const names = readdirSync(folder).filter((file) => file.endsWith(".sse"));
  expect(names.sort()).toEqual([...complete, ...broken].map(({ name }) => `${name}.sse`).sort());
});

describe.each([...complete, ...broken])("$name", ({ name, meter }) => {
  test("has the same result at every cut of its bytes, with LF and CR LF", () => {
    const unix = bytesOf(name);
    for (const bytes of [unix, Buffer.from(unix.toString("utf8").replaceAll("\n", "\r\n"))]) {
      const uncut = runCut(meter(), bytes, [], QUOTA);
      for (let cut = 1; cut < bytes.length; cut++) expect(runCut(meter(), bytes, [cut], QUOTA)).toEqual(uncut);
      expect(runCut(meter(), bytes, Array.from(bytes.keys()), QUOTA)).toEqual(uncut);
    }
  });
});

describe.each(complete)("$name", ({ name, meter, usage, texts }) => {
  const bytes = bytesOf(name);

  test("has the usage that the provider reports", () => {
    const { usage: found, finished, failure, done } = runCut(meter(), bytes, [], QUOTA);
    expect({ finished, failure, done }).toEqual({ finished: true, failure: null, done: true });
    const { promptTokens, cachedTokens, cacheWriteTokens, longCacheWriteTokens = 0, completionTokens } = found ?? {};
    expect([promptTokens, cachedTokens, cacheWriteTokens, longCacheWriteTokens, completionTokens]).toEqual(usage);
  });

  test("is counted by its texts when the provider's usage is missing", async () => {
    const watching = meter();
    watching.push(bytes);
    const tokens = await Promise.all(texts.map((text) => countTextTokens(text)));
    expect(await watching.completedTokens()).toBe(tokens.reduce((sum, each) => sum + each));
  });

  test("reaches the client event by event, with quota on its last events", () => {
    const { client } = runCut(meter(), bytes, [], QUOTA);
    expect(eventsOf(client)).toEqual(withQuota(meter(), eventsOf(bytes.toString("utf8"))));
  });
});

describe.each(broken)("$name", ({ name, meter, failure, fails, text }) => {
  test("ends at the provider's failure: the client gets the events before, and not the provider's message", async () => {
    const bytes = bytesOf(name);
    const result = runCut(meter(), bytes, [], QUOTA);
    expect({ failure: result.failure, finished: result.finished }).toEqual({ failure, finished: false });
    const stream = bytes.toString("utf8");
    expect(stream.split("\n\n").filter((event) => event.includes(fails))).toHaveLength(1);
    expect(result.client).toBe(stream.slice(0, stream.lastIndexOf("\n\n", stream.indexOf(fails)) + 2));
    const watching = meter();
    watching.push(bytes);
    expect(await watching.deliveredTokens()).toBe(await countTextTokens(text));
  });
});

type Event = { event: string | undefined; data: unknown };

function eventsOf(stream: string): Event[] {
  return stream
    .split("\n\n")
    .filter((each) => each.includes("data: "))
    .map((each) => {
      const data = each.slice(each.indexOf("data: ") + 6);
      return { event: /^event: (.*)$/m.exec(each)?.[1], data: data === "[DONE]" ? data : JSON.parse(data) };
    });
}

/** The events that a client should get that did not ask for the usage chunk of chat completions. */
function withQuota(meter: EventMeter, events: Event[]): Event[] {
  if (meter instanceof MessagesMeter) {
    const last = events.at(-1) as Event & { data: object };
    return [...events.slice(0, -1), { ...last, data: { ...last.data, quota } }];
  }
  if (meter instanceof ResponsesMeter) {
    const last = events.at(-1) as Event & { data: { response: object } };
    return [...events.slice(0, -1), { ...last, data: { ...last.data, response: { ...last.data.response, quota }, quota } }];
  }
  // The usage chunk, which follows the finish chunk, is left out.
  const end = events.findLastIndex(({ data }) => JSON.stringify(data).includes('"finish_reason":"'));
  const chunks = [...events.slice(0, end + 1), ...events.slice(-1)];
  const last = chunks.at(-2) as Event & { data: object };
  return [...chunks.slice(0, -2), { ...last, data: { ...last.data, quota } }, { event: undefined, data: "[DONE]" }];
}
