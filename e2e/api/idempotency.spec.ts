import { gate, silence } from "../../src/testing/fake-upstream.ts";
import { type Behaviour, completion, json, refusal } from "../../src/testing/upstream-answers.ts";
import { call, chat, marker, send } from "../client.ts";
import { expect, test } from "../fixtures.ts";
import { arrange, letHoldsExpire, settled } from "../world.ts";

const path = "/v1/chat/completions";
const keyed = (key: string) => ({ headers: { "idempotency-key": key } });

test.describe("a completion with an Idempotency-Key", () => {
  test("is replayed, and billed once", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    using seen = upstream.on(text, completion());
    const first = await call(postgresServer, path, { ...world.as, ...keyed(text), body: chat(text) });
    expect([first.status, first.headers.get("idempotency-replayed")]).toEqual([200, null]);
    for (let repeat = 0; repeat < 3; repeat++) {
      const again = await call(postgresServer, path, { ...world.as, ...keyed(text), body: chat(text) });
      expect([again.status, again.headers.get("idempotency-replayed"), again.text]).toEqual([200, "true", first.text]);
      expect(again.headers.get("x-request-id")).not.toBe(first.headers.get("x-request-id"));
    }
    expect(seen.requests).toHaveLength(1);
    expect(await world.balance()).toBe(999_995n);
    expect(await world.usage()).toHaveLength(1);
  });

  test("is replayed with the answer's headers", async ({ postgresServer }) => {
    const world = await arrange(postgresServer.db, { balance: 100n });
    const text = marker();
    const body = chat(text, { max_tokens: 5_000 });
    const first = await call(postgresServer, path, { ...world.as, ...keyed(text), body });
    const again = await call(postgresServer, path, { ...world.as, ...keyed(text), body });
    expect(first.headers.get("x-quota-max-tokens")).toMatch(/^\d+$/);
    expect(again.headers.get("x-quota-max-tokens")).toBe(first.headers.get("x-quota-max-tokens"));
  });

  test("and another body, user or path is 409", async ({ postgresServer, upstream }) => {
    const { db } = postgresServer;
    const world = await arrange(db, { developerBalance: 1_000n });
    const text = marker();
    using seen = upstream.on(text, completion());
    await call(postgresServer, path, { ...world.as, ...keyed(text), body: chat(text) });
    for (const other of [
      call(postgresServer, path, { ...world.as, ...keyed(text), body: chat(`${text}!`) }),
      call(postgresServer, path, { key: world.as.key, ...keyed(text), body: chat(text) }),
      call(postgresServer, "/v1/embeddings", { ...world.as, ...keyed(text), body: { model: "text-embedding-3-small", input: text } }),
      call(postgresServer, "/v1/funding/credit", { ...world.as, ...keyed(text), body: { external_user_id: world.as.user, amount: 1 } }),
    ]) {
      const answer = await other;
      expect([answer.status, answer.json.error.code]).toEqual([409, "idempotency_conflict"]);
    }
    expect(seen.requests).toHaveLength(1);
    expect([await world.balance(), await world.developerBalance()]).toEqual([999_995n, 1_000n]);
  });

  test("is 409 while the first one runs, and answered when it has ended", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    const release = gate();
    using seen = upstream.on(text, async () => {
      await release.opened;
      return completion();
    });
    const first = call(postgresServer, path, { ...world.as, ...keyed(text), body: chat(text) });
    await seen.next();
    const meanwhile = await call(postgresServer, path, { ...world.as, ...keyed(text), body: chat(text) });
    expect([meanwhile.status, meanwhile.json.error.code]).toEqual([409, "idempotency_conflict"]);
    expect(meanwhile.headers.get("retry-after")).toMatch(/^([1-9]|10)$/);
    release.open();
    const answered = await first;
    expect((await call(postgresServer, path, { ...world.as, ...keyed(text), body: chat(text) })).text).toBe(answered.text);
    expect(seen.requests).toHaveLength(1);
  });

  test("sent twenty times at once is carried out once", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    using seen = upstream.on(text, completion());
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => call(postgresServer, path, { ...world.as, ...keyed(text), body: chat(text) })),
    );
    expect(seen.requests).toHaveLength(1);
    expect(answers.filter(({ status }) => ![200, 409].includes(status))).toEqual([]);
    expect(answers.filter(({ status, headers }) => status === 200 && headers.get("idempotency-replayed") === null)).toHaveLength(1);
    expect(await world.balance()).toBe(999_995n);
  });

  test("may be used again after an error", async ({ postgresServer, upstream }) => {
    const { db } = postgresServer;
    const world = await arrange(db);
    const text = marker();
    using seen = upstream.on(text, [refusal(500, { message: "down" }), json("not an object"), completion()]);
    for (const status of [502, 502, 200, 200]) {
      expect((await call(postgresServer, path, { ...world.as, ...keyed(text), body: chat(text) })).status).toBe(status);
    }
    expect(seen.requests).toHaveLength(3);
    await settled(db, world);
    expect(await world.balance()).toBe(999_995n);
  });

  test("may be used again after 402 and 404", async ({ postgresServer }) => {
    const { db } = postgresServer;
    const world = await arrange(db, { balance: 0n });
    const text = marker();
    expect((await call(postgresServer, path, { ...world.as, ...keyed(text), body: chat(text) })).status).toBe(402);
    await db.prisma.linkedUser.update({ where: { id: world.link.id }, data: { pausedAt: new Date() } });
    expect((await call(postgresServer, path, { ...world.as, ...keyed(text), body: chat(text) })).status).toBe(404);
    await db.prisma.linkedUser.update({ where: { id: world.link.id }, data: { pausedAt: null } });
    expect((await call(postgresServer, path, { ...world.as, ...keyed(text), body: chat(text) })).status).toBe(402);
  });

  test("runs to its end after its client has hung up, and the answer is kept", async ({ postgresServer, upstream }) => {
    const { db } = postgresServer;
    const world = await arrange(db);
    const text = marker();
    const release = gate();
    using seen = upstream.on(text, async () => {
      await release.opened;
      return completion({ text: "kept" });
    });
    const hangUp = new AbortController();
    const lost = send(postgresServer, path, { ...world.as, ...keyed(text), body: chat(text), signal: hangUp.signal });
    const request = await seen.next();
    hangUp.abort();
    await expect(lost).rejects.toThrow();
    release.open();
    expect(await request.ended).toBe("answered");
    await expect
      .poll(async () => (await call(postgresServer, path, { ...world.as, ...keyed(text), body: chat(text) })).json)
      .toMatchObject({ choices: [{ message: { content: "kept" } }], quota: { credits_used: 5 } });
    expect(seen.requests).toHaveLength(1);
    expect(await world.balance()).toBe(999_995n);
  });

  test("does not match another app's equal key", async ({ postgresServer }) => {
    const text = marker();
    for (let app = 0; app < 2; app++) {
      const world = await arrange(postgresServer.db);
      const answer = await call(postgresServer, path, { ...world.as, ...keyed(text), body: chat(text) });
      expect([answer.status, answer.headers.get("idempotency-replayed")]).toEqual([200, null]);
    }
  });

  test("that no header can carry is 400, and on a stream it is ignored", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    for (const key of ["", "two words", "é", "x".repeat(256)]) {
      const answer = await call(postgresServer, path, { ...world.as, ...keyed(key), body: chat("hi") });
      expect([answer.status, answer.json.error.param]).toEqual([400, "Idempotency-Key"]);
    }
    expect(await world.usage()).toEqual([]);
    const text = marker();
    using seen = upstream.on(text, completion());
    for (let repeat = 0; repeat < 2; repeat++)
      await call(postgresServer, path, { ...world.as, ...keyed(text), body: chat(text, { stream: true }) });
    expect(seen.requests).toHaveLength(2);
  });
});

test.describe("an Idempotency-Key whose server", () => {
  /** Behaves in this way at the first request, and answers after that. */
  function first(behave: () => Promise<Behaviour>, text = "hello") {
    let asked = 0;
    return async () => (asked++ === 0 ? behave() : completion({ text }));
  }

  /** Repeats the request until the answer is not "still running"; checks that Retry-After is no longer than a lease. */
  async function untilFree(ask: () => ReturnType<typeof call>) {
    let answer = await ask();
    await expect
      .poll(
        async () => {
          if (answer.status === 409) {
            expect(Number(answer.headers.get("retry-after"))).toBeLessThanOrEqual(10);
            answer = await ask();
          }
          return answer.status;
        },
        { timeout: 30_000, intervals: [250] },
      )
      .not.toBe(409);
    return answer;
  }

  test("was killed is free within seconds on the embedded database: the request runs again and is billed once", async ({
    start,
    upstream,
  }) => {
    const one = await start({ upstream });
    const as = { key: one.demo.api_keys.developer, user: one.demo.user.external_user_id };
    const text = marker();
    using seen = upstream.on(text, first(silence));
    void call(one, path, { ...as, ...keyed(text), body: chat(text) }).catch(() => {});
    await seen.next();
    await one.kill9();
    const two = await start({ upstream, dataDir: one.dataDir });
    const answer = await untilFree(() => call(two, path, { ...as, ...keyed(text), body: chat(text) }));
    expect([answer.status, answer.headers.get("idempotency-replayed"), answer.json.quota.credits_used]).toEqual([200, null, 6]);
    expect((await call(two, path, { ...as, ...keyed(text), body: chat(text) })).text).toBe(answer.text);
    expect((await call(two, "/v1/balance", as)).json).toMatchObject({ balance: 9_999_994, held: 0 });
  });

  test("was killed is free within seconds at another server, under a new request id, and is billed once", async ({
    start,
    upstream,
    ownDatabase,
  }) => {
    const { db, url } = ownDatabase;
    const world = await arrange(db);
    const [one, two] = await Promise.all([start({ upstream, databaseUrl: url }), start({ upstream, databaseUrl: url })]);
    const text = marker();
    using seen = upstream.on(text, first(silence));
    void call(one, path, { ...world.as, ...keyed(text), body: chat(text) }).catch(() => {});
    await seen.next();
    await one.kill9();
    const answer = await untilFree(() => call(two, path, { ...world.as, ...keyed(text), body: chat(text) }));
    expect([answer.status, answer.json.quota.credits_used]).toEqual([200, 5]);
    const [hold] = await db.prisma.hold.findMany({ orderBy: { id: "asc" } });
    expect(answer.headers.get("x-request-id")).not.toBe(`req_${hold?.id.replaceAll("-", "")}`);
    expect(await world.balance()).toBe(999_995n);
    expect(await world.usage()).toHaveLength(1);
    await letHoldsExpire(db);
    await expect
      .poll(async () => (await world.usage()).map(({ outcome }) => outcome).sort(), { timeout: 60_000 })
      .toEqual(["completed", "swept"]);
  });

  test("was stopped and continues after another server took the key over bills once, and there is one answer", async ({
    start,
    upstream,
    ownDatabase,
  }) => {
    const { db, url } = ownDatabase;
    const world = await arrange(db);
    const [one, two] = await Promise.all([start({ upstream, databaseUrl: url }), start({ upstream, databaseUrl: url })]);
    const text = marker();
    const release = gate();
    using seen = upstream.on(
      text,
      first(async () => {
        await release.opened;
        return completion({ text: "late" });
      }, "in time"),
    );
    const stopped = call(one, path, { ...world.as, ...keyed(text), body: chat(text) });
    await seen.next();
    process.kill(one.pid, "SIGSTOP");
    let answer: Awaited<ReturnType<typeof call>>;
    try {
      answer = await untilFree(() => call(two, path, { ...world.as, ...keyed(text), body: chat(text) }));
      release.open();
    } finally {
      process.kill(one.pid, "SIGCONT");
    }
    expect(answer.json.choices[0].message.content).toBe("in time");
    const beaten = await stopped;
    expect([beaten.status, beaten.json.error.code]).toEqual([409, "idempotency_conflict"]);
    for (const server of [one, two]) {
      const again = await call(server, path, { ...world.as, ...keyed(text), body: chat(text) });
      expect([again.text, again.headers.get("idempotency-replayed")]).toEqual([answer.text, "true"]);
    }
    await settled(db, world);
    expect(await world.balance()).toBe(999_995n);
    expect((await world.usage()).map(({ outcome }) => outcome).sort()).toEqual(["completed", "failed"]);
    expect(seen.requests).toHaveLength(2);
  });

  test("still runs the request after many leases keeps the key: 409 until the answer is kept", async ({ start, upstream, ownDatabase }) => {
    const { db, url } = ownDatabase;
    const world = await arrange(db);
    const [one, two] = await Promise.all([start({ upstream, databaseUrl: url }), start({ upstream, databaseUrl: url })]);
    const text = marker();
    const release = gate();
    using seen = upstream.on(text, async () => {
      await release.opened;
      return completion();
    });
    const first = call(one, path, { ...world.as, ...keyed(text), body: chat(text) });
    await seen.next();
    const leased = async () => (await db.prisma.idempotencyRecord.findFirstOrThrow()).expiresAt.getTime();
    const end = await leased();
    // The claim's first lease has ended.
    await expect.poll(leased, { timeout: 60_000 }).toBeGreaterThan(end + 10_000);
    const meanwhile = await call(two, path, { ...world.as, ...keyed(text), body: chat(text) });
    expect([meanwhile.status, meanwhile.json.error.code]).toEqual([409, "idempotency_conflict"]);
    release.open();
    const answered = await first;
    expect((await call(two, path, { ...world.as, ...keyed(text), body: chat(text) })).text).toBe(answered.text);
    expect(seen.requests).toHaveLength(1);
  });
});

test.describe("giving credits to a linked user", () => {
  const fund = "/v1/funding/credit";

  test("moves exactly the amount, once, and returns it", async ({ postgresServer }) => {
    const { db } = postgresServer;
    const world = await arrange(db, { balance: 10n, developerBalance: 1_000n });
    const body = { external_user_id: world.as.user, amount: 300, description: "Thank you" };
    const first = await call(postgresServer, fund, { key: world.as.key, ...keyed("gift"), body });
    expect(first.json).toEqual({
      success: true,
      external_user_id: world.as.user,
      amount: 300,
      balance_after: 310,
      transaction_id: first.json.transaction_id,
    });
    const again = await call(postgresServer, fund, { key: world.as.key, ...keyed("gift"), body });
    expect([again.text, again.headers.get("idempotency-replayed")]).toEqual([first.text, "true"]);
    expect([await world.balance(), await world.developerBalance()]).toEqual([310n, 700n]);
    expect(await db.prisma.transfer.findUniqueOrThrow({ where: { id: first.json.transaction_id } })).toMatchObject({
      amount: 300n,
      reason: "funding",
      description: "Thank you",
    });
  });

  test("twenty times at once with one key moves it once; with twenty keys as often as the wallet can pay", async ({ postgresServer }) => {
    const { db } = postgresServer;
    const one = await arrange(db, { balance: 0n, developerBalance: 1_000n });
    await Promise.all(
      Array.from({ length: 20 }, () =>
        call(postgresServer, fund, { key: one.as.key, ...keyed("once"), body: { external_user_id: one.as.user, amount: 100 } }),
      ),
    );
    expect([await one.balance(), await one.developerBalance()]).toEqual([100n, 900n]);
    const many = await arrange(db, { balance: 0n, developerBalance: 1_000n });
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_each, index) =>
        call(postgresServer, fund, { key: many.as.key, ...keyed(`gift-${index}`), body: { external_user_id: many.as.user, amount: 300 } }),
      ),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([...Array(3).fill(200), ...Array(17).fill(402)]);
    expect([await many.balance(), await many.developerBalance()]).toEqual([900n, 100n]);
  });

  test("needs an Idempotency-Key, a linked user, enough credits, and good fields", async ({ postgresServer }) => {
    const { db } = postgresServer;
    const world = await arrange(db, { balance: 0n, developerBalance: 1_000n });
    const body = { external_user_id: world.as.user, amount: 300 };
    for (const [options, expected] of [
      [{ body }, [400, "bad_request", "Idempotency-Key"]],
      [{ ...keyed("a"), body: { ...body, external_user_id: "nobody" } }, [404, "not_found", null]],
      [{ ...keyed("a"), body: { ...body, amount: 1_001 } }, [402, "insufficient_credits", null]],
      [{ ...keyed("a"), body: { ...body, amount: 0 } }, [400, "bad_request", "amount"]],
      [{ ...keyed("a"), body: { ...body, amount: -5 } }, [400, "bad_request", "amount"]],
      [{ ...keyed("a"), body: { ...body, amount: 1.5 } }, [400, "bad_request", "amount"]],
      [{ ...keyed("a"), body: { ...body, amount: "300" } }, [400, "bad_request", "amount"]],
      [{ ...keyed("a"), body: { ...body, amount: 1e15 } }, [400, "bad_request", "amount"]],
      [{ ...keyed("a"), body: { amount: 300 } }, [400, "bad_request", "external_user_id"]],
      [{ ...keyed("a"), body: { ...body, description: "line\nbreak" } }, [400, "bad_request", "description"]],
      [{ ...keyed("a"), body: { ...body, to: "me" } }, [400, "bad_request", "to"]],
      [{ ...keyed("a"), body: "{" }, [400, "bad_request", null]],
      [{ ...keyed("a"), body: "[]" }, [400, "bad_request", null]],
    ] as const) {
      const answer = await call(postgresServer, fund, { key: world.as.key, ...options });
      expect([answer.status, answer.json.error.code, answer.json.error.param]).toEqual(expected);
    }
    expect([await world.balance(), await world.developerBalance()]).toEqual([0n, 1_000n]);
    // Errors do not use the key up.
    expect((await call(postgresServer, fund, { key: world.as.key, ...keyed("a"), body })).status).toBe(200);
  });

  test("with a test key moves nothing, and can be repeated like any other", async ({ postgresServer }) => {
    const world = await arrange(postgresServer.db, { billingMode: "test", balance: 0n, developerBalance: 1_000n });
    const body = { external_user_id: world.as.user, amount: 300 };
    const first = await call(postgresServer, fund, { key: world.as.key, ...keyed("play"), body });
    expect([first.status, first.json.amount]).toEqual([200, 300]);
    const again = await call(postgresServer, fund, { key: world.as.key, ...keyed("play"), body });
    expect([again.status, again.headers.get("idempotency-replayed"), again.text]).toEqual([200, "true", first.text]);
    expect([await world.balance(), await world.developerBalance()]).toEqual([0n, 1_000n]);
  });
});
