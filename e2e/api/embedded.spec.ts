import type { ServerProcess } from "../../src/testing/server-process.ts";
import { completionChunks, event, events, refusal, sse, usage } from "../../src/testing/upstream-answers.ts";
import { call, chat, eventsOf, marker, send } from "../client.ts";
import { expect, test } from "../fixtures.ts";

const path = "/v1/chat/completions";
const user = ({ demo }: ServerProcess) => ({ key: demo.api_keys.user, user: demo.user.external_user_id });
const balanceOf = async (server: ServerProcess): Promise<number> => (await call(server, "/v1/balance", user(server))).json.balance;

/** Guarantees on Postgres hold on the embedded database too; these tests cover those that depend on the database. */
test.describe("on the embedded database, with pages", () => {
  test("a completion is billed, with the demo app's markup", async ({ server, upstream }) => {
    const text = marker();
    using _ = upstream.on(text, sse(completionChunks(["hi"], { usage: usage(1_000, 100, { cached_tokens: 500 }) })));
    const before = await balanceOf(server);
    const answer = await call(server, path, { ...user(server), body: chat(`${text} ${"word ".repeat(1_000)}`, { stream: true }) });
    // 112.5 + 60 credits are rounded up to 173, and a fifth of that to 35.
    expect(eventsOf(answer.text).at(-2).quota).toEqual({
      credits_used: 208,
      balance_after: before - 208,
      billing_mode: "user",
      external_user_id: "user_123",
    });
    expect(await balanceOf(server)).toBe(before - 208);
  });

  test("a failed request and a client that hangs up leave nothing on hold", async ({ server, upstream }) => {
    const before = await balanceOf(server);
    const down = marker();
    using _ = upstream.on(down, refusal(500, { message: "down" }));
    expect((await call(server, path, { ...user(server), body: chat(down) })).status).toBe(502);
    expect(await balanceOf(server)).toBe(before);

    const text = marker();
    using seen = upstream.on(
      text,
      events(
        (async function* () {
          for (const chunk of completionChunks(["hello", " world"]).slice(0, 3)) yield event(chunk);
          await new Promise(() => {});
        })(),
      ),
    );
    const hangUp = new AbortController();
    const response = await send(server, path, { ...user(server), body: chat(text, { stream: true }), signal: hangUp.signal });
    let read = "";
    for await (const part of response.body as ReadableStream<Uint8Array>) {
      read += Buffer.from(part).toString("utf8");
      if (read.includes("world")) break;
    }
    hangUp.abort();
    expect(await (await seen.next()).ended).toBe("aborted");
    await expect.poll(async () => (await call(server, "/v1/balance", user(server))).json.held).toBe(0);
    const [bought] = (await call(server, "/v1/usage?limit=1", { key: user(server).key })).json.data;
    expect(bought).toMatchObject({ status: "interrupted", counted_by: "tokenizer", completion_tokens: 2 });
    expect(await balanceOf(server)).toBe(before - bought.credits_used);
  });

  test("an Idempotency-Key sent ten times at once is carried out once", async ({ server }) => {
    const before = await balanceOf(server);
    const headers = { "idempotency-key": marker() };
    const answers = await Promise.all(Array.from({ length: 10 }, () => call(server, path, { ...user(server), headers, body: chat("hi") })));
    expect(answers.filter(({ status }) => ![200, 409].includes(status))).toEqual([]);
    expect(await balanceOf(server)).toBe(before - 6);
  });

  test("giving credits moves them from the developer to the user, once", async ({ server }) => {
    const key = server.demo.api_keys.developer;
    const developer = (await call(server, "/v1/balance", { key })).json.balance;
    const before = await balanceOf(server);
    const headers = { "idempotency-key": marker() };
    const body = { external_user_id: "user_123", amount: 1_000 };
    const answers = await Promise.all(Array.from({ length: 5 }, () => call(server, "/v1/funding/credit", { key, headers, body })));
    expect(answers.filter(({ status }) => ![200, 409].includes(status))).toEqual([]);
    expect([await balanceOf(server), (await call(server, "/v1/balance", { key })).json.balance]).toEqual([
      before + 1_000,
      developer - 1_000,
    ]);
  });

  test("sums of usage agree with the list", async ({ server }) => {
    const { key } = user(server);
    await call(server, path, { ...user(server), body: chat("hi") });
    const items: { credits_used: number }[] = [];
    for (let after = ""; ; ) {
      const page = await call(server, `/v1/usage?limit=100${after}`, { key });
      items.push(...page.json.data);
      if (!page.json.has_more) break;
      after = `&starting_after=${page.json.data.at(-1).request_id}`;
    }
    for (const by of ["day", "model", "user"]) {
      const sums: { requests: number; credits_used: number }[] = (await call(server, `/v1/usage?group_by=${by}`, { key })).json.data;
      expect(sums.reduce((sum, each) => sum + each.credits_used, 0)).toBe(items.reduce((sum, each) => sum + each.credits_used, 0));
      expect(sums.reduce((sum, each) => sum + each.requests, 0)).toBe(items.length);
    }
  });
});
