import { describe, expect, test } from "vitest";
import {
  type Behaviour,
  completion,
  completionChunks,
  namedEvents,
  response,
  responseEvents,
  responseUsage,
  sse,
  usage,
} from "../../../src/testing/upstream-answers.ts";
import type { Provider } from "../far-end.ts";
import { type Asked, buy } from "../stage.ts";
import { groq } from "../ways/groq.ts";
import { openai } from "../ways/openai.ts";
import { xai } from "../ways/xai.ts";

/** The tier that served the request is told with the answer: https://platform.openai.com/docs/api-reference/chat/object */
const served = (tier: string) => completion({ usage: usage(1_000, 100), extra: { service_tier: tier } });
const streamed = (tier: string) =>
  sse(completionChunks(["Hello"], { usage: usage(1_000, 100) }).map((each) => ({ ...each, service_tier: tier })));
const responded = (tier: string) => response({ usage: responseUsage(1_000, 100), rest: { service_tier: tier } });
const respondedInStream = (tier: string) =>
  namedEvents(responseEvents(["Hello"], { usage: responseUsage(1_000, 100), rest: { service_tier: tier } }));

const flex = { body: { service_tier: "flex" } };
const stream = true;
const path = "/v1/responses";

describe("the tier that served a request is the one that is billed", () => {
  test.each([
    ["flex", openai, served("flex"), flex, 270],
    ["flex in a stream", openai, streamed("flex"), { ...flex, stream }, 270],
    ["flex of a response", openai, responded("flex"), { ...flex, path }, 270],
    ["flex of a response in a stream", openai, respondedInStream("flex"), { ...flex, path, stream }, 270],
    ["flex that the answer does not name", openai, completion({ usage: usage(1_000, 100) }), flex, 270],
    ["the default one, where flex was asked for", openai, served("default"), flex, 540],
    ["the default one", openai, served("default"), {}, 540],
    ["priority, by the operator's settings", openai, served("priority"), {}, 972],
    ["the same in a stream", openai, streamed("priority"), { stream }, 972],
    ["the same of a response in a stream", openai, respondedInStream("priority"), { path, stream }, 972],
    ["Groq's on_demand, at the list price", groq, served("on_demand"), { body: { service_tier: "on_demand" } }, 126],
    ["Groq's flex, at the list price", groq, served("flex"), flex, 126],
  ] as [string, Provider, Behaviour, Asked, number][])("%s", async (_name, provider, way, asked, credits) => {
    const bought = await buy(provider, way, asked);
    expect([bought.answer.status, bought.told, bought.credits]).toEqual([200, credits, credits]);
  });
});

describe("what has no listed price, or would be kept at the provider, is refused by its name", () => {
  const file = { messages: [{ role: "user", content: [{ type: "file", file: { file_id: "file-1" } }] }] };
  test.each([
    ["service_tier", openai, { service_tier: "priority" }],
    ["service_tier", xai, { service_tier: "flex" }],
    ["service_tier", groq, { service_tier: "performance" }],
    ["deferred", xai, { deferred: true }],
    ["background", openai, { background: true }],
    ["messages", openai, file],
  ] as [string, Provider, object][])("%s", async (param, provider, body) => {
    const { answer, requests, credits } = await buy(provider, served("default"), { body });
    expect([answer.status, answer.json.error.code, answer.json.error.param]).toEqual([400, "bad_request", param]);
    expect([requests.length, credits]).toEqual([0, 0]);
  });
});
