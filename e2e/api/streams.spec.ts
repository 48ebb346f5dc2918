import { createHash } from "node:crypto";
import { gate } from "../../src/testing/fake-upstream.ts";
import {
  BREAK_OFF,
  chunk,
  completionChunks,
  delta,
  event,
  events,
  type Piece,
  sse,
  toolCall,
  usage,
} from "../../src/testing/upstream-answers.ts";
import { call, chat, eventsOf, marker, send } from "../client.ts";
import { expect, test } from "../fixtures.ts";
import { arrange, price, settled } from "../world.ts";

const path = "/v1/chat/completions";
const USED = usage(10, 5);
const whole = completionChunks(["Grüße ", "an 🦊"], { usage: USED });

test.describe("a stream", () => {
  test("leaves the provider's connection to the next request, also when its last byte comes after [DONE]", async ({
    postgresServer,
    upstream,
  }) => {
    const world = await arrange(postgresServer.db);
    const ports = new Set<number | undefined>();
    for (let index = 0; index < 5; index++) {
      const text = marker();
      const release = gate();
      using seen = upstream.on(
        text,
        events(
          (async function* () {
            yield whole.map(event).join("") + event("[DONE]");
            await release.opened;
          })(),
        ),
      );
      const answer = await call(postgresServer, path, { ...world.as, body: chat(text, { stream: true }) });
      expect(answer.text.endsWith("data: [DONE]\n\n")).toBe(true);
      release.open();
      const request = await seen.next();
      expect(await request.ended).toBe("answered");
      ports.add(request.port);
    }
    // Single connections may end for other reasons.
    expect(ports.size).toBeLessThan(3);
  });

  test("has quota on the chunk with finish_reason, and no chunk has empty choices", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    using seen = upstream.on(text, sse(whole));
    const answer = await call(postgresServer, path, { ...world.as, body: chat(text, { stream: true }) });
    expect(answer.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    const chunks = eventsOf(answer.text);
    expect(chunks.pop()).toBe("[DONE]");
    expect(chunks.every((each) => each.choices.length > 0)).toBe(true);
    expect(chunks.filter((each) => each.quota !== undefined)).toEqual([chunks.at(-1)]);
    expect(chunks.at(-1)).toMatchObject({ choices: [{ finish_reason: "stop" }], quota: { credits_used: 5, balance_after: 999_995 } });
    expect(seen.requests[0]?.body.stream_options).toEqual({ include_usage: true });
  });

  test("has the usage chunk, with quota on it too, when the client asked for usage", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    using _ = upstream.on(text, sse(whole));
    const answer = await call(postgresServer, path, {
      ...world.as,
      body: chat(text, { stream: true, stream_options: { include_usage: true } }),
    });
    const chunks = eventsOf(answer.text);
    expect(chunks.at(-2)).toMatchObject({ choices: [], usage: USED, quota: { credits_used: 5 } });
    expect(chunks.at(-3)).toMatchObject({ choices: [{ finish_reason: "stop" }], quota: { credits_used: 5 } });
  });

  test("passes everything before the end on byte for byte, as it arrives", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    const [first, second] = [gate(), gate()];
    const odd =
      ': a comment\n\nevent: message\nid: 7\ndata:{"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}] , "big":9223372036854775807}\n\n';
    using _ = upstream.on(
      text,
      events(
        (async function* () {
          yield event(whole[0]);
          await first.opened;
          yield odd;
          await second.opened;
          yield whole.slice(1).map(event).join("") + event("[DONE]");
        })(),
      ),
    );
    const response = await send(postgresServer, path, { ...world.as, body: chat(text, { stream: true }) });
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    const read = async () => Buffer.from((await reader.read()).value ?? []).toString("utf8");
    expect(await read()).toBe(event(whole[0]));
    first.open();
    expect(await read()).toBe(odd);
    second.open();
    let rest = "";
    for (let part = await read(); part !== ""; part = await read()) rest += part;
    expect(rest.endsWith("data: [DONE]\n\n")).toBe(true);
  });

  test("is the same to the client wherever the provider's bytes were cut", async ({ postgresServer, upstream }) => {
    const { db } = postgresServer;
    const world = await arrange(db);
    const bytes = Buffer.from(completionChunks(["é🦊"], { usage: USED }).slice(1).map(event).join("") + event("[DONE]"));
    const told = async (pieces: Uint8Array[]) => {
      const text = marker();
      using _ = upstream.on(text, events(pieces));
      const answer = await call(postgresServer, path, { ...world.as, body: chat(text, { stream: true }) });
      return answer.text.replace(/"balance_after":\d+/, "");
    };
    const uncut = await told([bytes]);
    expect(uncut).toContain("é🦊");
    expect(uncut).toContain('"credits_used":5');
    for (let at = 0; at < bytes.length; at += 50) {
      const cuts = Array.from({ length: Math.min(50, bytes.length - at) }, (_each, index) => at + index);
      const streams = await Promise.all(cuts.map((cut) => told([bytes.subarray(0, cut), bytes.subarray(cut)])));
      expect([...new Set(streams)]).toEqual([uncut]);
    }
    // Each byte in a write of its own.
    expect(await told([...bytes].map((byte) => Uint8Array.of(byte)))).toBe(uncut);
  });

  for (const [name, pieces, options] of [
    ["with CRLF line ends", () => [...whole.map((each) => event(each).replaceAll("\n", "\r\n")), "data: [DONE]\r\n\r\n"], {}],
    [
      "with spaces around finish_reason",
      () => [
        ...whole.map((each) =>
          event(JSON.stringify(each).replaceAll('"finish_reason":', '"finish_reason" : ').replaceAll('"usage":', '"usage" : ')),
        ),
        event("[DONE]"),
      ],
      {},
    ],
    ["without [DONE] after the finish chunk", () => whole.map(event), {}],
    ["without the last empty line", () => [whole.map(event).join(""), "data: [DONE]"], {}],
    [
      "with usage on the finish chunk",
      () => [...whole.slice(0, -2).map(event), event(chunk([delta({}, { finishReason: "stop" })], { usage: USED })), event("[DONE]")],
      {},
    ],
    [
      "with usage in every chunk",
      () => [
        ...whole.slice(0, -1).map((each, index) => event({ ...each, usage: usage(10, Math.min(index, 5)) })),
        event(chunk([], { usage: USED })),
        event("[DONE]"),
      ],
      {},
    ],
    [
      "with usage: null in every chunk",
      () => [...whole.slice(0, -1).map((each) => event({ ...each, usage: null })), event(whole.at(-1)), event("[DONE]")],
      {},
    ],
    ["with comments between events", () => [...whole.flatMap((each) => [": ping\n\n", event(each)]), event("[DONE]")], {}],
    [
      "with text on the finish chunk",
      () => [
        event(chunk([delta({ content: "Grüße an 🦊" }, { finishReason: "stop" })])),
        event(chunk([], { usage: USED })),
        event("[DONE]"),
      ],
      {},
    ],
    [
      "with an event over several data lines",
      () =>
        [...whole.slice(0, -2), chunk([delta({}, { finishReason: "stop" })]), whole.at(-1)]
          .map(
            (each) =>
              `${JSON.stringify(each, null, 1)
                .split("\n")
                .map((line) => `data: ${line}\n`)
                .join("")}\n`,
          )
          .concat(event("[DONE]")),
      {},
    ],
  ] as const) {
    test(`${name} has the same text, end and price`, async ({ postgresServer, upstream }) => {
      const world = await arrange(postgresServer.db);
      const text = marker();
      using _ = upstream.on(text, events((pieces as () => Piece[])()));
      const answer = await call(postgresServer, path, { ...world.as, body: chat(text, { stream: true, ...options }) });
      expect(answer.text.endsWith("data: [DONE]\n\n")).toBe(true);
      const chunks = eventsOfLines(answer.text);
      expect(chunks.map((each) => each.choices[0]?.delta.content ?? "").join("")).toBe("Grüße an 🦊");
      expect(
        chunks
          .flatMap((each) => each.choices)
          .filter((each) => each.finish_reason !== null)
          .map((each) => each.finish_reason),
      ).toEqual(["stop"]);
      expect(chunks.filter((each) => each.quota)).toMatchObject([{ choices: [{ finish_reason: "stop" }], quota: { credits_used: 5 } }]);
      expect(await world.usage()).toMatchObject([{ outcome: "completed", countedBy: "provider", promptTokens: 10, completionTokens: 5 }]);
    });
  }

  test("with several choices has every finish, and quota on the last", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    using _ = upstream.on(
      text,
      sse([
        chunk([delta({ content: "a" }, { index: 0 })]),
        chunk([delta({ content: "b" }, { index: 1 })]),
        chunk([delta({}, { index: 0, finishReason: "stop" })]),
        chunk([delta({ content: "c" }, { index: 1 })]),
        chunk([delta({}, { index: 1, finishReason: "length" })]),
        chunk([], { usage: USED }),
      ]),
    );
    const answer = await call(postgresServer, path, { ...world.as, body: chat(text, { stream: true, n: 2 }) });
    const chunks = eventsOf(answer.text).slice(0, -1);
    expect(chunks.map((each) => [each.choices[0].index, each.choices[0].delta.content ?? each.choices[0].finish_reason])).toEqual([
      [0, "a"],
      [1, "b"],
      [0, "stop"],
      [1, "c"],
      [1, "length"],
    ]);
    expect(chunks.map((each) => each.quota?.credits_used)).toEqual([undefined, undefined, undefined, undefined, 5]);
  });

  test("of a tool call is passed on", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    const made = toolCall("get_weather", { city: "Oslo" });
    using _ = upstream.on(
      text,
      sse([
        chunk([
          delta({
            role: "assistant",
            content: null,
            tool_calls: [{ index: 0, ...made, function: { name: "get_weather", arguments: "" } }],
          }),
        ]),
        chunk([delta({ tool_calls: [{ index: 0, function: { arguments: made.function.arguments } }] })]),
        chunk([delta({}, { finishReason: "tool_calls" })]),
        chunk([], { usage: USED }),
      ]),
    );
    const answer = await call(postgresServer, path, { ...world.as, body: chat(text, { stream: true }) });
    const chunks = eventsOf(answer.text).slice(0, -1);
    expect(
      chunks
        .flatMap((each) => each.choices[0].delta.tool_calls ?? [])
        .map((each) => each.function.arguments)
        .join(""),
    ).toBe('{"city":"Oslo"}');
    expect(chunks.at(-1)).toMatchObject({ choices: [{ finish_reason: "tool_calls" }], quota: { credits_used: 5 } });
  });

  test("without usage is counted by tokenizer", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    using _ = upstream.on(text, sse(completionChunks(["hello", " world"])));
    const answer = await call(postgresServer, path, { ...world.as, body: chat(text, { stream: true }) });
    const [bought] = await world.usage();
    expect(bought).toMatchObject({ countedBy: "tokenizer", completionTokens: 2, outcome: "completed" });
    expect(eventsOf(answer.text).at(-2).quota.credits_used).toBe(Number(price(bought?.promptTokens ?? 0, 2)));
  });

  test("without usage counts text that comes on the finish chunk", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    using _ = upstream.on(
      text,
      sse([chunk([delta({ content: "hello" })]), chunk([delta({ content: " world" }, { finishReason: "stop" })])]),
    );
    await call(postgresServer, path, { ...world.as, body: chat(text, { stream: true }) });
    expect(await world.usage()).toMatchObject([{ countedBy: "tokenizer", completionTokens: 2, outcome: "completed" }]);
  });
});

test.describe("a broken stream", () => {
  for (const [name, pieces] of [
    ["the connection breaks", [event(whole[0]), event(whole[1]), BREAK_OFF]],
    ["the connection breaks within an event", [event(whole[0]), event(whole[1]).slice(0, 40), BREAK_OFF]],
    ["the connection breaks before the first byte", [BREAK_OFF]],
    ["it ends without finish_reason and [DONE]", [event(whole[0]), event(whole[1])]],
    [
      "the provider sends an error event",
      [event(whole[0]), event({ error: { message: "secret backend 10.0.0.7 exploded", type: "server_error", code: null } })],
    ],
    ["it ends cleanly within an event", [event(whole[0]), event(whole[1]).slice(0, 40)]],
    ["the provider says 429 in the stream", [event(whole[0]), event({ error: { message: "slow down", code: 429 } })]],
  ] as const) {
    test(`${name}: an error event, nothing billed, nothing held`, async ({ postgresServer, upstream }) => {
      const { db } = postgresServer;
      const world = await arrange(db);
      const text = marker();
      using _ = upstream.on(text, events(pieces));
      const answer = await call(postgresServer, path, { ...world.as, body: chat(text, { stream: true }) });
      const last = eventsOf(answer.text).at(-1);
      expect(answer.status).toBe(200);
      expect(last.error.code).toBe(name.includes("429") ? "rate_limit" : "upstream_error");
      expect(answer.text).not.toContain("10.0.0.7");
      // Nor is it logged: a provider's error may repeat the prompt.
      expect(postgresServer.output().stderr).not.toMatch(/10\.0\.0\.7|slow down/);
      expect(answer.text).not.toContain("[DONE]");
      await settled(db, world);
      expect(await world.usage()).toMatchObject([{ outcome: "failed", base: 0n, markup: 0n, upstreamStatus: 200 }]);
      expect(await world.balance()).toBe(1_000_000n);
    });
  }
});

test.describe("a client that hangs up", () => {
  test("in the middle of a stream: the upstream request is aborted, and the delivered text is billed", async ({
    postgresServer,
    upstream,
  }) => {
    const { db } = postgresServer;
    const world = await arrange(db);
    const text = marker();
    using seen = upstream.on(
      text,
      events(
        (async function* () {
          yield event(whole[0]);
          yield event(chunk([delta({ content: "hello world" })]));
          await new Promise(() => {});
        })(),
      ),
    );
    const hangUp = new AbortController();
    const response = await send(postgresServer, path, { ...world.as, body: chat(text, { stream: true }), signal: hangUp.signal });
    let read = "";
    for await (const part of response.body as ReadableStream<Uint8Array>) {
      read += Buffer.from(part).toString("utf8");
      if (read.includes("hello world")) break;
    }
    hangUp.abort();
    expect(await (await seen.next()).ended).toBe("aborted");
    await settled(db, world);
    const [bought] = await world.usage();
    expect(bought).toMatchObject({ outcome: "interrupted", countedBy: "tokenizer", completionTokens: 2 });
    expect(await world.balance()).toBe(1_000_000n - price(bought?.promptTokens ?? 0, 2));
  });

  test("before the provider answered: the upstream request is aborted, and nothing is billed", async ({ postgresServer, upstream }) => {
    const { db } = postgresServer;
    for (const stream of [false, true]) {
      const world = await arrange(db);
      const text = marker();
      using seen = upstream.on(text, () => new Promise(() => {}));
      const hangUp = new AbortController();
      const response = send(postgresServer, path, { ...world.as, body: chat(text, { stream }), signal: hangUp.signal });
      const request = await seen.next();
      hangUp.abort();
      await expect(response).rejects.toThrow();
      expect(await request.ended).toBe("aborted");
      await settled(db, world);
      expect(await world.usage()).toMatchObject([{ base: 0n, markup: 0n }]);
      expect(await world.balance()).toBe(1_000_000n);
    }
  });

  test("after the provider's headers and before any text: only the prompt is billed", async ({ postgresServer, upstream }) => {
    const { db } = postgresServer;
    const world = await arrange(db);
    const text = marker();
    using seen = upstream.on(
      text,
      events(
        (async function* () {
          yield ": processing\n\n";
          await new Promise(() => {});
        })(),
      ),
    );
    const hangUp = new AbortController();
    const response = await send(postgresServer, path, { ...world.as, body: chat(text, { stream: true }), signal: hangUp.signal });
    await (response.body as ReadableStream<Uint8Array>).getReader().read();
    hangUp.abort();
    expect(await (await seen.next()).ended).toBe("aborted");
    await settled(db, world);
    const [bought] = await world.usage();
    expect(bought).toMatchObject({ outcome: "interrupted", countedBy: "tokenizer", completionTokens: 0 });
    expect(bought?.base).toBe(price(bought?.promptTokens ?? 0, 0));
  });

  test("in the middle of its own request body: nothing is billed, and the log has no error", async ({ postgresServer }) => {
    const world = await arrange(postgresServer.db);
    const { connect } = await import("node:net");
    const { port } = new URL(postgresServer.url);
    const socket = connect(Number(port), "127.0.0.1");
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.write(
      `POST ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${world.as.key}\r\nx-quota-user: ${world.as.user}\r\ncontent-length: 1000\r\n\r\n{"model"`,
      () => socket.destroy(),
    );
    await closed;
    expect((await call(postgresServer, path, { ...world.as, body: chat("hi") })).status).toBe(200);
    expect(await world.usage()).toHaveLength(1);
  });

  test("50 at once at any moment: no hold stays open and nothing is billed twice", async ({ postgresServer, upstream }) => {
    const { db } = postgresServer;
    const world = await arrange(db);
    const text = marker();
    using seen = upstream.on(text, () =>
      events(
        (async function* () {
          for (const each of completionChunks(
            Array.from({ length: 20 }, () => " word"),
            { usage: usage(10, 20) },
          )) {
            yield event(each);
            await new Promise((resolve) => setImmediate(resolve));
          }
          yield event("[DONE]");
        })(),
      ),
    );
    await Promise.all(
      Array.from({ length: 50 }, async (_each, index) => {
        const hangUp = new AbortController();
        const response = await send(postgresServer, path, { ...world.as, body: chat(text, { stream: true }), signal: hangUp.signal });
        let events = 0;
        for await (const part of response.body as ReadableStream<Uint8Array>) {
          events += Buffer.from(part).toString("utf8").split("\n\n").length;
          if (events > index) break;
        }
        hangUp.abort();
      }),
    );
    await settled(db, world);
    expect(seen.requests).toHaveLength(50);
    const bought = await world.usage();
    expect(bought).toHaveLength(50);
    expect(await world.balance()).toBe(1_000_000n - bought.reduce((sum, { base, markup }) => sum + base + markup, 0n));
    for (const { outcome, completionTokens } of bought) {
      if (outcome === "completed") expect(completionTokens).toBe(20);
      else expect(completionTokens).toBeLessThanOrEqual(20);
    }
  });
});

test.describe("a client that stops reading", () => {
  test("makes only its own provider wait, and gets every byte when it reads again", async ({ postgresServer, upstream }) => {
    const { db } = postgresServer;
    const world = await arrange(db);
    const text = marker();
    const body = chat(text, { stream: true });
    const pieces = 1_024;
    const piece = (number: number) => event(chunk([delta({ content: `${number} ` })], { obfuscation: "x".repeat(64 * 1024) }));
    const all = createHash("sha256");
    let bytes = 0;
    for (let number = 0; number < pieces; number++) {
      all.update(piece(number));
      bytes += piece(number).length;
    }
    // Bytes that the provider sent of each stream: a piece counts when the connection has accepted it.
    const sent: number[] = [];
    using seen = upstream.on(text, () => {
      const which = sent.push(0) - 1;
      return events(
        (async function* () {
          for (let number = 0; number < pieces; number++) {
            yield piece(number);
            sent[which] = (sent[which] ?? 0) + piece(number).length;
          }
          yield whole.slice(-2).map(event).join("") + event("[DONE]");
        })(),
      );
    });
    const isWhole = async (response: Response) => {
      const got = createHash("sha256");
      let left = bytes;
      let end = "";
      for await (const part of response.body as ReadableStream<Uint8Array>) {
        got.update(part.subarray(0, left));
        end += Buffer.from(part.subarray(left)).toString("utf8");
        left = Math.max(0, left - part.length);
      }
      expect(left).toBe(0);
      expect(got.digest("hex")).toBe(all.copy().digest("hex"));
      expect(eventsOf(end)).toMatchObject([{ choices: [{ finish_reason: "stop" }], quota: { credits_used: 5 } }, "[DONE]"]);
    };

    const unread = await send(postgresServer, path, { ...world.as, body });
    // Runs for as long as the first stream would have needed without back-pressure.
    await isWhole(await send(postgresServer, path, { ...world.as, body }));
    expect(sent[1]).toBe(bytes);
    // What fits into the socket buffers was sent; the provider still has the rest.
    expect(sent[0]).toBeLessThan(bytes / 2);

    await isWhole(unread);
    expect(sent[0]).toBe(bytes);
    expect(seen.requests).toHaveLength(2);
    await settled(db, world);
    expect((await world.usage()).map(({ outcome, completionTokens }) => [outcome, completionTokens])).toEqual([
      ["completed", 5],
      ["completed", 5],
    ]);
  });
});

/** Like eventsOf, for events whose data is on several lines. */
// biome-ignore lint/suspicious/noExplicitAny: a test asserts on whatever came
function eventsOfLines(stream: string): any[] {
  return stream
    .split(/\r?\n\r?\n/)
    .map((each) =>
      each
        .split(/\r?\n/)
        .filter((line) => line.startsWith("data:"))
        .map((line) => line.slice(5))
        .join("\n")
        .trim(),
    )
    .filter((data) => data !== "" && data !== "[DONE]")
    .map((data) => JSON.parse(data));
}
