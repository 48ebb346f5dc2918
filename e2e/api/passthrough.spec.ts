import { completion, completionChunks, embeddings, sse } from "../../src/testing/upstream-answers.ts";
import { call, marker } from "../client.ts";
import { expect, test } from "../fixtures.ts";
import { arrange } from "../world.ts";

const path = "/v1/chat/completions";

/** Bodies that parsing and serializing would change. */
const bodies: Record<string, (text: string) => string> = {
  "big integers and odd numbers": (text) =>
    `{"model":"gpt-4o-mini","seed":9223372036854775807,"temperature":1.0e0,"top_p":0.10,"max_tokens":50,"messages":[{"role":"user","content":"${text}"}]}`,
  "fields that nobody knows": (text) =>
    `{"model":"gpt-4o-mini","max_tokens":50,"x_new":{"deep":[1,{"a":null}]},"messages":[{"role":"user","content":"${text}","x_own":true}],"metadata":{"k":"v"}}`,
  "spaces, tabs and line ends": (text) =>
    `\r\n{\t"messages" : [\n  { "role" :"user" , "content":  "${text}" } ] ,\r\n "max_tokens":50, "model"\n:\n"gpt-4o-mini" }\n\n`,
  "escapes, emoji and lone surrogates": (text) =>
    `{"model":"gpt-4o-mini","max_tokens":50,"messages":[{"role":"user","content":"${text} \\u00e9 é 🦊 \\ud83e\\udd8a \\ud800 \\/ \\u0000"}]}`,
  "duplicate names further down": (text) =>
    `{"model":"gpt-4o-mini","max_tokens":50,"metadata":{"a":1,"a":2},"messages":[{"role":"user","content":"${text}"}]}`,
  "every parameter of OpenAI": (text) =>
    JSON.stringify({
      model: "gpt-4o-mini",
      messages: [
        { role: "developer", content: "be brief", name: "ops" },
        {
          role: "user",
          content: [
            { type: "text", text },
            { type: "image_url", image_url: { url: "https://example.com/cat.png", detail: "low" } },
          ],
        },
        { role: "assistant", content: null, tool_calls: [{ id: "call_1", type: "function", function: { name: "f", arguments: "{}" } }] },
        { role: "tool", tool_call_id: "call_1", content: "done" },
      ],
      frequency_penalty: 0.5,
      logit_bias: { "50256": -100 },
      logprobs: true,
      top_logprobs: 3,
      max_completion_tokens: 50,
      metadata: { a: "b" },
      modalities: ["text"],
      n: 2,
      parallel_tool_calls: false,
      prediction: { type: "content", content: "x" },
      presence_penalty: -0.5,
      prompt_cache_key: "k",
      reasoning_effort: "low",
      response_format: {
        type: "json_schema",
        json_schema: { name: "s", strict: true, schema: { type: "object", properties: {}, additionalProperties: false } },
      },
      safety_identifier: "u",
      seed: 7,
      service_tier: "auto",
      stop: ["a", "b"],
      store: false,
      temperature: 0,
      tool_choice: { type: "function", function: { name: "f" } },
      tools: [{ type: "function", function: { name: "f", strict: true, parameters: { type: "object" } } }],
      top_p: 1,
      user: "u",
      verbosity: "low",
    }),
  "deep nesting": (text) =>
    `{"model":"gpt-4o-mini","max_tokens":50,"x":${"[".repeat(200)}${"]".repeat(200)},"messages":[{"role":"user","content":"${text}"}]}`,
};

for (const [name, write] of Object.entries(bodies)) {
  test(`a body with ${name} reaches the provider byte for byte`, async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    using seen = upstream.on(text, completion());
    const body = write(text);
    const answer = await call(postgresServer, path, { ...world.as, body });
    expect(answer.status, answer.text).toBe(200);
    expect(seen.requests.map(({ rawBody }) => rawBody)).toEqual([body]);
  });

  test(`a stream of a body with ${name} changes stream_options and nothing else`, async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    using seen = upstream.on(text, sse(completionChunks(["hi"], { includeUsage: true })));
    const body = write(text);
    const streamed = body.replace("{", '{"stream":true,');
    expect((await call(postgresServer, path, { ...world.as, body: streamed })).status).toBe(200);
    const withOptions = body.replace("{", '{"stream":true,"stream_options":{"include_usage":true},');
    expect((await call(postgresServer, path, { ...world.as, body: withOptions })).status).toBe(200);
    const added = streamed.replace("{", '{"stream_options":{"include_usage":true},');
    expect(seen.requests.map(({ rawBody }) => rawBody)).toEqual([added, withOptions]);
  });
}

test("stream_options of the app are kept beside include_usage", async ({ postgresServer, upstream }) => {
  const world = await arrange(postgresServer.db);
  const text = marker();
  using seen = upstream.on(text, sse(completionChunks(["hi"], { includeUsage: true })));
  await call(postgresServer, path, {
    ...world.as,
    body: {
      model: "gpt-4o-mini",
      stream: true,
      stream_options: { include_obfuscation: false },
      messages: [{ role: "user", content: text }],
    },
  });
  expect(seen.requests[0]?.body.stream_options).toEqual({ include_obfuscation: false, include_usage: true });
});

test("a lowered limit changes the limit's digits and nothing else", async ({ postgresServer, upstream }) => {
  const world = await arrange(postgresServer.db, { balance: 100n });
  const text = marker();
  using seen = upstream.on(text, completion());
  const body = (limit: string) =>
    `{ "model":"gpt-4o-mini", "seed":9223372036854775807, "max_tokens" : ${limit} , "messages":[{"role":"user","content":"${text}"}] }`;
  const answer = await call(postgresServer, path, { ...world.as, body: body("10000") });
  expect(seen.requests[0]?.rawBody).toBe(body(String(answer.headers.get("x-quota-max-tokens"))));
});

test("the provider's answer comes back byte for byte, with quota appended", async ({ postgresServer, upstream }) => {
  const world = await arrange(postgresServer.db);
  const text = marker();
  const answered =
    '{ "id":"x", "object":"chat.completion", "model":"m", "big":9223372036854775807, "choices":[ {"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"} ], "usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"x":1.0}, "é":"\\u00e9" }\n';
  using _ = upstream.on(text, { body: [answered] });
  const answer = await call(postgresServer, path, {
    ...world.as,
    body: { model: "gpt-4o-mini", messages: [{ role: "user", content: text }] },
  });
  expect(answer.text).toBe(
    answered.replace(
      " }\n",
      ` ,"quota":{"credits_used":5,"balance_after":999995,"billing_mode":"user","external_user_id":${JSON.stringify(world.as.user)}}}\n`,
    ),
  );
});

test("embeddings reach the provider byte for byte and come back in the encoding asked for", async ({ postgresServer, upstream }) => {
  const world = await arrange(postgresServer.db);
  const text = marker();
  const body = `{"input" : ["${text}", "é"],"model":"text-embedding-3-small", "encoding_format":"base64","dimensions":3,"user":"u"}`;
  using seen = upstream.on(text, ({ body: sent }) => embeddings(sent));
  const answer = await call(postgresServer, "/v1/embeddings", { ...world.as, body });
  expect(seen.requests.map(({ path: asked, rawBody }) => [asked, rawBody])).toEqual([["/v1/embeddings", body]]);
  expect(typeof answer.json.data[0].embedding).toBe("string");
});

test("the provider gets this server's key and none of the app's headers", async ({ postgresServer, upstream }) => {
  const world = await arrange(postgresServer.db);
  const text = marker();
  using seen = upstream.on(text, completion());
  await call(postgresServer, path, {
    ...world.as,
    headers: { "x-secret": "s", cookie: "session=1", "openai-organization": "org", "idempotency-key": marker() },
    body: { model: "gpt-4o-mini", messages: [{ role: "user", content: text }] },
  });
  const headers = seen.requests[0]?.headers ?? {};
  expect(headers.authorization).toBe(`Bearer ${upstream.key}`);
  expect(Object.keys(headers).sort()).toEqual([
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "host",
    "user-agent",
  ]);
});
