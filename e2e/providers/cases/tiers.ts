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
import { groq } from "../behaviours/groq.ts";
import { openai } from "../behaviours/openai.ts";
import { xai } from "../behaviours/xai.ts";
import type { Provider } from "../provider.ts";
import { type BuyOptions, buy } from "../server.ts";

/** The answer names the tier that served the request: https://platform.openai.com/docs/api-reference/chat/object */
const served = (tier: string) => completion({ usage: usage(1_000, 100), extra: { service_tier: tier } });
const streamed = (tier: string) =>
  sse(completionChunks(["Hello"], { usage: usage(1_000, 100) }).map((each) => ({ ...each, service_tier: tier })));
const responded = (tier: string) => response({ usage: responseUsage(1_000, 100), rest: { service_tier: tier } });
const respondedInStream = (tier: string) =>
  namedEvents(responseEvents(["Hello"], { usage: responseUsage(1_000, 100), rest: { service_tier: tier } }));

const flex = { body: { service_tier: "flex" } };
const stream = true;
const path = "/v1/responses";

describe("a request is billed at the price of the tier that served it", () => {
  test.each([
    ["flex", openai, served("flex"), flex, 270],
    ["flex in a stream", openai, streamed("flex"), { ...flex, stream }, 270],
    ["flex of a response", openai, responded("flex"), { ...flex, path }, 270],
    ["flex of a response in a stream", openai, respondedInStream("flex"), { ...flex, path, stream }, 270],
    ["flex that the answer does not name", openai, completion({ usage: usage(1_000, 100) }), flex, 270],
    ["default, when the request asked for flex", openai, served("default"), flex, 540],
    ["default", openai, served("default"), {}, 540],
    ["priority, as the operator's account is set", openai, served("priority"), {}, 972],
    ["priority in a stream", openai, streamed("priority"), { stream }, 972],
    ["priority of a response in a stream", openai, respondedInStream("priority"), { path, stream }, 972],
    ["Groq's on_demand, at the list price", groq, served("on_demand"), { body: { service_tier: "on_demand" } }, 126],
    ["Groq's flex, at the list price", groq, served("flex"), flex, 126],
  ] as [string, Provider, Behaviour, BuyOptions, number][])("%s", async (_name, provider, behaviour, options, credits) => {
    const bought = await buy(provider, behaviour, options);
    expect([bought.answer.status, bought.toldCredits, bought.credits]).toEqual([200, credits, credits]);
  });
});

describe("a parameter without a list price, or that has the provider store data, is refused with its name in `param`", () => {
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
