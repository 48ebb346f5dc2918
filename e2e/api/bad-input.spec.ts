import { connect } from "node:net";
import { embeddings } from "../../src/testing/upstream-answers.ts";
import { call, callRaw, chat, marker } from "../client.ts";
import { expect, type PostgresServer, test } from "../fixtures.ts";
import { arrange, type World } from "../world.ts";

const path = "/v1/chat/completions";

/** Balances and rows that must be the same before and after a refused request. */
async function books({ db }: PostgresServer, world: World) {
  return {
    balance: await world.balance(),
    developer: await world.developerBalance(),
    usage: await world.usage(),
    holds: await db.prisma.hold.count({ where: { appId: world.app.id } }),
    transfers: await db.prisma.transfer.count({ where: { OR: [{ debitId: world.user.walletId }, { creditId: world.user.walletId }] } }),
  };
}

const good = chat("hi");
const withField = (field: string, value: unknown) => JSON.stringify({ ...good, [field]: value });

const wrong: [name: string, body: string, param: string | null][] = [
  ["an empty body", "", null],
  ["malformed JSON", '{"model":', null],
  ["JSON with something after it", `${JSON.stringify(good)}x`, null],
  ["a list", "[]", null],
  ["a list of requests", JSON.stringify([good]), null],
  ["a number", "5", null],
  ["null", "null", null],
  ["a member twice", '{"model":"gpt-4o-mini","max_tokens":1,"messages":[{"role":"user","content":"hi"}],"max_tokens":9}', "max_tokens"],
  ["no model", JSON.stringify({ messages: good.messages }), "model"],
  ["an empty model", withField("model", ""), "model"],
  ["a model that is a number", withField("model", 5), "model"],
  ["an embedding model", withField("model", "text-embedding-3-small"), "model"],
  ["no messages", JSON.stringify({ model: "gpt-4o-mini" }), "messages"],
  ["empty messages", withField("messages", []), "messages"],
  ["messages that are text", withField("messages", "hi"), "messages"],
  ["a message that is text", withField("messages", ["hi"]), "messages[0]"],
  ["a message without a role", withField("messages", [{ content: "hi" }]), "messages[0].role"],
  ...[-1, 0, 1.5, "10", true, [], {}, 1e300].flatMap((value): [string, string, string][] => [
    [`max_tokens: ${JSON.stringify(value)}`, withField("max_tokens", value), "max_tokens"],
    [`max_completion_tokens: ${JSON.stringify(value)}`, withField("max_completion_tokens", value), "max_completion_tokens"],
  ]),
  [
    "max_tokens: 99999999999999999999",
    '{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}],"max_tokens":99999999999999999999}',
    "max_tokens",
  ],
  ...[0, -1, 129, 1.5, "2", {}].map((value): [string, string, string] => [`n: ${JSON.stringify(value)}`, withField("n", value), "n"]),
  ["stream that is text", withField("stream", "true"), "stream"],
  ["stream_options that is a list", JSON.stringify({ ...good, stream: true, stream_options: [] }), "stream_options"],
  ["audio output", withField("modalities", ["text", "audio"]), "modalities"],
  ["a paid tier", withField("service_tier", "priority"), "service_tier"],
];

test("wrong bodies are 400, name the field, and change nothing in the ledger", async ({ postgresServer }) => {
  const world = await arrange(postgresServer.db, { developerBalance: 1_000n });
  const before = await books(postgresServer, world);
  for (const [name, body, param] of wrong) {
    await test.step(name, async () => {
      const answer = await call(postgresServer, path, { ...world.as, body });
      expect([answer.status, answer.json.error.code, answer.json.error.type, answer.json.error.param]).toEqual([
        400,
        "bad_request",
        "invalid_request_error",
        param,
      ]);
    });
  }
  expect(await books(postgresServer, world)).toEqual(before);
});

test("wrong embeddings requests are 400, name the field, and change nothing", async ({ postgresServer }) => {
  const world = await arrange(postgresServer.db);
  const before = await books(postgresServer, world);
  const model = "text-embedding-3-small";
  for (const [body, param] of [
    [{ model }, "input"],
    [{ model, input: "" }, "input"],
    [{ model, input: 5 }, "input"],
    [{ model, input: {} }, "input"],
    [{ model, input: [] }, "input"],
    [{ model, input: [null] }, "input"],
    [{ model: "gpt-4o-mini", input: "hi" }, "model"],
    [{ input: "hi" }, "model"],
  ] as const) {
    const answer = await call(postgresServer, "/v1/embeddings", { ...world.as, body });
    expect([answer.status, answer.json.error.code, answer.json.error.param]).toEqual([400, "bad_request", param]);
  }
  expect(await books(postgresServer, world)).toEqual(before);
});

test("a body with more structure than a request can have is 400 at every door, however large it is", async ({ postgresServer }) => {
  const world = await arrange(postgresServer.db);
  const before = await books(postgresServer, world);
  const nested = (levels: number) => "[".repeat(levels) + "]".repeat(levels);
  const members = (many: number) => `{${Array.from({ length: many }, (_, at) => `"k${at}":1`).join(",")}}`;
  for (const door of [path, "/v1/messages", "/v1/responses", "/v1/embeddings", "/v1/webhooks", "/v1/funding/credit", "/v1/checkout"]) {
    for (const [body, says] of [
      [`{"model":"gpt-4o-mini","x":${nested(2_000_000)}}`, /is nested deeper than \d+ levels/],
      [`{"model":"gpt-4o-mini","metadata":${members(700_000)}}`, /has more than \d+ members/],
      [`{"model":"gpt-4o-mini","input":[${"{},".repeat(1_000_000)}{}]}`, /has more than \d+ objects and lists/],
    ] as const) {
      const answer = await call(postgresServer, door, { key: world.key.secret, headers: { "idempotency-key": "once" }, body });
      expect([door, answer.status, answer.json.error.code, answer.json.error.message]).toEqual([
        door,
        400,
        "bad_request",
        expect.stringMatching(says),
      ]);
    }
  }
  expect(await books(postgresServer, world)).toEqual(before);
});

test("as many tokens as OpenAI embeds at once are within the bounds", async ({ postgresServer, upstream }) => {
  const world = await arrange(postgresServer.db);
  const text = marker();
  using seen = upstream.on(text, ({ body }) => embeddings(body));
  const input = Array.from({ length: 2_048 }, () => Array.from({ length: 146 }, (_, at) => 100_000 + at));
  const answer = await call(postgresServer, "/v1/embeddings", {
    ...world.as,
    body: { model: "text-embedding-3-small", user: text, input },
  });
  expect([answer.status, seen.requests.length]).toEqual([200, 1]);
});

test("an unknown model is 404 and changes nothing", async ({ postgresServer }) => {
  const world = await arrange(postgresServer.db);
  const before = await books(postgresServer, world);
  for (const model of ["gpt-99", "__proto__", "constructor", "GPT-4O-MINI", "x".repeat(100_000), "gpt-4o-mini "]) {
    const answer = await call(postgresServer, path, { ...world.as, body: { ...good, model } });
    expect([answer.status, answer.json.error.code, answer.json.error.param]).toEqual([404, "model_not_found", "model"]);
    expect(answer.text.length).toBeLessThan(1_000);
  }
  expect(await books(postgresServer, world)).toEqual(before);
});

test("text that is not UTF-8 is 400", async ({ postgresServer }) => {
  const world = await arrange(postgresServer.db);
  const body = Buffer.concat([
    Buffer.from('{"model":"gpt-4o-mini","messages":[{"role":"user","content":"'),
    Buffer.from([0xff, 0xfe]),
    Buffer.from('"}]}'),
  ]);
  const response = await fetch(postgresServer.url + path, {
    method: "POST",
    headers: { authorization: `Bearer ${world.as.key}`, "x-quota-user": world.as.user },
    body,
  });
  expect([response.status, (await response.json()).error.code]).toEqual([400, "bad_request"]);
});

test.describe("a body of 20 MB", () => {
  const huge = JSON.stringify(chat("x".repeat(20 * 1024 * 1024)));

  test("is 413 for a client that sends its length, and the server keeps serving", async ({ postgresServer }) => {
    const world = await arrange(postgresServer.db);
    const before = await books(postgresServer, world);
    for (let repeat = 0; repeat < 3; repeat++) {
      const answer = await call(postgresServer, path, { ...world.as, body: huge });
      expect([answer.status, answer.json.error.code]).toEqual([413, "request_too_large"]);
    }
    const answer = await callRaw(postgresServer, path, { ...world.as, body: huge });
    expect([answer.status, answer.json.error.code]).toEqual([413, "request_too_large"]);
    expect(await books(postgresServer, world)).toEqual(before);
    expect((await call(postgresServer, path, { ...world.as, body: good })).status).toBe(200);
  });

  test("is 413 for a client that sends it in chunks without a length", async ({ postgresServer }) => {
    const world = await arrange(postgresServer.db);
    const before = await books(postgresServer, world);
    const body = new Blob([huge]).stream();
    const response = await fetch(postgresServer.url + path, {
      method: "POST",
      headers: { authorization: `Bearer ${world.as.key}`, "x-quota-user": world.as.user, "content-type": "application/json" },
      body,
      duplex: "half",
    } as RequestInit);
    expect([response.status, (await response.json()).error.code]).toEqual([413, "request_too_large"]);
    expect(await books(postgresServer, world)).toEqual(before);
  });

  test("with a wrong key is 401 at once", async ({ postgresServer }) => {
    const answer = await call(postgresServer, path, { key: `sk-quota-${"0".repeat(32)}`, body: huge });
    expect([answer.status, answer.json.error.code]).toEqual([401, "invalid_api_key"]);
  });
});

test("a body of nine megabytes is accepted", async ({ postgresServer, upstream }) => {
  // The bound by bytes of its text is the whole context.
  const world = await arrange(postgresServer.db, { balance: 10_000_000n });
  const image = { type: "image_url", image_url: { url: `data:image/png;base64,${"A".repeat(9 * 1024 * 1024)}` } };
  const answer = await call(postgresServer, path, {
    ...world.as,
    body: { model: "gpt-4o-mini", max_tokens: 100, messages: [{ role: "user", content: [{ type: "text", text: "what is it?" }, image] }] },
  });
  expect(answer.status).toBe(200);
  expect(upstream.key).toBeTruthy();
});

test("bytes that are not HTTP are answered 400, and other requests are served", async ({ postgresServer }) => {
  const { port } = new URL(postgresServer.url);
  for (const bytes of [
    "GET\r\n\r\n",
    "POST /v1/chat/completions HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
    "\u0000\u0001\u0002\r\n\r\n",
    `GET /v1/models HTTP/1.1\r\nhost: x\r\nx: ${"y".repeat(100_000)}\r\n\r\n`,
  ]) {
    const said = await new Promise<string>((resolve) => {
      const socket = connect(Number(port), "127.0.0.1");
      let text = "";
      socket.on("data", (part) => {
        text += part.toString("latin1");
      });
      socket.on("error", () => {});
      socket.once("close", () => resolve(text));
      socket.write(bytes);
    });
    expect(said).toMatch(/^HTTP\/1\.1 4\d\d |^$/);
  }
  expect((await call(postgresServer, "/v1/models")).status).toBe(200);
});
