import type { ServerResponse } from "node:http";
import { describe, expect, test } from "vitest";
import { onBothDatabases } from "#testing/database.ts";
import { makeApp } from "#testing/makers.ts";
import { accept, answer, type Behaviour } from "#testing/receiver.ts";
import { eventually, withCouriers } from "#testing/webhooks.ts";
import { newId } from "../platform/ids.ts";
import { findDelivery, retryDelivery } from "./deliveries.ts";
import { findEndpoint, removeEndpoint, sendTestEvent, updateEndpoint } from "./endpoints.ts";
import { DISABLE_AFTER_MS } from "./results.ts";

onBothDatabases("webhooks", (db) => {
  const { courier, disabled, listener, receiver, stopAll, tell } = withCouriers(db);

  test("a delivery has failed after 14 attempts, and a retry by hand sends the same body", async () => {
    const mine = await listener();
    receiver().behave(mine.path, answer(500, "no\u0000thing"));
    await tell(mine.appId);
    courier({ firstRetryMs: 0.001 });
    await eventually(mine.statuses).toEqual(["failed"]);
    const [delivery] = await mine.deliveries();
    expect(delivery).toMatchObject({ attempts: 14, lastResponseStatus: 500, nextAttemptAt: null });
    receiver().behave(mine.path, accept);
    expect(await retryDelivery(mine.appId, mine.id, delivery?.id as string)).toMatchObject({ kind: "retried" });
    await eventually(mine.statuses).toEqual(["succeeded"]);
    expect(new Set(mine.arrived().map(({ body }) => body)).size).toBe(1);
    const record = await findDelivery(mine.appId, mine.id, delivery?.id as string);
    expect([record?.tries.length, record?.body]).toEqual([15, mine.arrived()[0]?.body]);
    expect(await retryDelivery((await makeApp(db())).id, mine.id, delivery?.id as string)).toEqual({ kind: "not_found" });
  });

  test("a retry by hand is sent at once, instead of the next attempt", async () => {
    const mine = await listener();
    receiver().behave(mine.path, answer(500));
    await tell(mine.appId);
    courier({ firstRetryMs: 3_600_000 });
    await eventually(async () => (await mine.deliveries())[0]?.attempts).toBe(1);
    receiver().behave(mine.path, accept);
    await retryDelivery(mine.appId, mine.id, (await mine.deliveries())[0]?.id as string);
    await eventually(mine.statuses).toEqual(["succeeded"]);
    expect(mine.arrived()).toHaveLength(2);
  });

  test("an endpoint that fails for five days without a success is disabled, and its owner is told once", async () => {
    const mine = await listener();
    receiver().behave(mine.path, answer(500));
    let now = Date.now();
    const options = { now: () => now, firstRetryMs: 3_600_000 };
    courier(options);
    if (db().kind === "postgres") courier(options);
    const fail = async () => {
      const delivery = (await sendTestEvent(mine.appId, mine.id)) as { id: string };
      await eventually(async () => (await findDelivery(mine.appId, mine.id, delivery.id))?.tries.length).toBe(1);
    };
    await fail();
    expect(await findEndpoint(mine.appId, mine.id)).toMatchObject({ disabledAt: null, notice: expect.stringContaining("failing") });
    now += DISABLE_AFTER_MS - 60_000;
    await fail();
    receiver().behave(mine.path, accept);
    await sendTestEvent(mine.appId, mine.id);
    await eventually(async () => (await findEndpoint(mine.appId, mine.id))?.failingSince).toBe(null);
    receiver().behave(mine.path, answer(500));
    now += 120_000;
    await fail();
    expect((await findEndpoint(mine.appId, mine.id))?.disabledAt).toBe(null);
    now += DISABLE_AFTER_MS + 60_000;
    await fail();
    expect(await findEndpoint(mine.appId, mine.id)).toMatchObject({
      disabledReason: "failing",
      notice: expect.stringContaining("disabled"),
    });
    expect(disabled.filter(({ id }) => id === mine.id)).toEqual([
      { id: mine.id, appId: mine.appId, url: receiver().url + mine.path, reason: "failing" },
    ]);
    // Pending deliveries are failed, and can be retried after the endpoint is enabled.
    expect(new Set(await mine.statuses())).toEqual(new Set(["failed", "succeeded"]));
    const [last] = await mine.deliveries();
    expect(await retryDelivery(mine.appId, mine.id, last?.id as string)).toEqual({ kind: "disabled" });
    await updateEndpoint(mine.appId, mine.id, { enabled: true });
    receiver().behave(mine.path, accept);
    expect(await retryDelivery(mine.appId, mine.id, last?.id as string)).toMatchObject({ kind: "retried" });
    await eventually(async () => (await mine.statuses())[0]).toBe("succeeded");
  });

  test("a receiver that answers 410 disables its endpoint at once, and its owner is told once", async () => {
    const mine = await listener();
    const other = await listener({ appId: mine.appId });
    receiver().behave(mine.path, answer(410));
    for (let each = 0; each < 3; each++) await tell(mine.appId);
    courier({ firstRetryMs: 3_600_000 });
    if (db().kind === "postgres") courier({ firstRetryMs: 3_600_000 });
    await eventually(async () => (await findEndpoint(mine.appId, mine.id))?.disabledReason).toBe("gone");
    await eventually(async () => (await mine.deliveries()).every(({ status }) => status === "failed")).toBe(true);
    await eventually(other.statuses).toEqual(["succeeded", "succeeded", "succeeded"]);
    await eventually(() => disabled.filter(({ id }) => id === mine.id)).toEqual([
      { id: mine.id, appId: mine.appId, url: receiver().url + mine.path, reason: "gone" },
    ]);
    expect((await findEndpoint(mine.appId, mine.id))?.notice).toContain("410 Gone");
    receiver().behave(mine.path, accept);
    await updateEndpoint(mine.appId, mine.id, { enabled: true });
    const [last] = await mine.deliveries();
    expect(await retryDelivery(mine.appId, mine.id, last?.id as string)).toMatchObject({ kind: "retried" });
    await eventually(async () => (await mine.statuses())[0]).toBe("succeeded");
  });

  test("410 from an address that the endpoint no longer has does not disable it", async () => {
    const mine = await listener();
    const moved = `/${newId()}`;
    receiver().behave(mine.path, (_received, outgoing) => {
      void updateEndpoint(mine.appId, mine.id, { url: receiver().url + moved }).then(() => outgoing.writeHead(410).end());
    });
    await tell(mine.appId);
    courier();
    await eventually(mine.statuses).toEqual(["failed"]);
    expect((await findEndpoint(mine.appId, mine.id))?.disabledAt).toBe(null);
  });

  describe("a receiver that answers Retry-After", () => {
    const asks =
      (status: number, value: string): Behaviour =>
      (_received, outgoing) =>
        void outgoing.writeHead(status, { "retry-after": value }).end();
    const inSeconds = (at: Date | null | undefined) => Math.round(((at?.getTime() ?? 0) - Date.now()) / 1000);

    for (const [status, value, seconds] of [
      [429, "600", 600],
      [503, "600", 600],
      [429, () => new Date(Date.now() + 600_000).toUTCString(), 600],
      // A year is shortened to 12 hours; a second is less than the usual wait; after 500 the header is ignored.
      [429, "31536000", 12 * 3600],
      [429, "1", 60],
      [500, "600", 60],
      [429, "soon", 60],
    ] as const) {
      const said = typeof value === "string" ? value : "a date";
      test(`gets the next attempt ${seconds} s after a ${status} with ${said}`, async () => {
        const mine = await listener();
        receiver().behave(mine.path, asks(status, typeof value === "string" ? value : value()));
        await tell(mine.appId);
        courier({ firstRetryMs: 60_000, random: () => 0.5 });
        await eventually(async () => (await mine.deliveries())[0]?.attempts).toBe(1);
        const wait = inSeconds((await mine.deliveries())[0]?.nextAttemptAt);
        expect(wait).toBeGreaterThan(seconds - 30);
        expect(wait).toBeLessThanOrEqual(seconds);
      });
    }

    test.for([
      [429, { "retry-after": "600" }, "pending"],
      [410, {}, "failed"],
    ] as const)("is not sent deliveries that wait in its queue after a %d", async ([status, headers, becomes]) => {
      const mine = await listener();
      const held: ServerResponse[] = [];
      receiver().behave(mine.path, (_received, outgoing) => void held.push(outgoing));
      for (let index = 0; index < 20; index++) await tell(mine.appId);
      courier();
      await eventually(() => held.length).toBe(8);
      await eventually(() => db().prisma.webhookDelivery.count({ where: { endpointId: mine.id, leaseToken: { not: null } } })).toBe(20);
      receiver().behave(mine.path, answer(status, "", headers));
      held[0]?.writeHead(status, headers).end();
      // Waiting deliveries are read again after the result is recorded.
      await eventually(() => db().prisma.webhookDelivery.count({ where: { endpointId: mine.id, leaseToken: { not: null } } })).toBe(
        becomes === "failed" ? 0 : 7,
      );
      for (const outgoing of held.slice(1)) outgoing.writeHead(204).end();
      await eventually(async () => (await mine.deliveries()).filter(({ attempts }) => attempts > 0).length).toBe(
        becomes === "failed" ? 1 : 8,
      );
      await stopAll();
      expect(mine.arrived()).toHaveLength(8);
      expect((await mine.statuses()).filter((each) => each === becomes)).toHaveLength(becomes === "failed" ? 20 : 13);
    });

    test("is sent no other delivery during the wait, which is no attempt, until one is retried by hand", async () => {
      const mine = await listener();
      receiver().behave(mine.path, asks(429, "600"));
      await tell(mine.appId);
      courier({ firstRetryMs: 20 });
      await eventually(async () => (await mine.deliveries())[0]?.attempts).toBe(1);
      receiver().behave(mine.path, accept);
      await tell(mine.appId);
      await tell(mine.appId);
      await eventually(async () => (await mine.deliveries()).map(({ nextAttemptAt }) => inSeconds(nextAttemptAt) > 500)).toEqual([
        true,
        true,
        true,
      ]);
      expect((await mine.deliveries()).map(({ attempts }) => attempts).sort()).toEqual([0, 0, 1]);
      expect(mine.arrived()).toHaveLength(1);
      const [newest] = await mine.deliveries();
      await retryDelivery(mine.appId, mine.id, newest?.id as string);
      await eventually(async () => (await mine.statuses())[0]).toBe("succeeded");
    });
  });

  test("a disabled endpoint gets no deliveries, and removing an endpoint deletes its deliveries", async () => {
    const off = await listener();
    const gone = await listener();
    const there = await listener();
    await updateEndpoint(off.appId, off.id, { enabled: false });
    courier({ firstRetryMs: 3_600_000 });
    receiver().behave(gone.path, answer(500));
    await tell(gone.appId);
    await eventually(async () => (await gone.deliveries())[0]?.attempts).toBe(1);
    expect([await removeEndpoint(there.appId, gone.id), await removeEndpoint(gone.appId, gone.id)]).toEqual([false, true]);
    expect(await gone.deliveries()).toEqual([]);
    for (const each of [off, gone, there]) await tell(each.appId);
    await eventually(there.statuses).toEqual(["succeeded"]);
    expect([await off.statuses(), off.arrived().length, gone.arrived().length]).toEqual([[], 0, 1]);
  });

  test("a delivery that is made while its endpoint is disabled fails and does not stay pending", async () => {
    const mine = await listener();
    const sent = await sendTestEvent(mine.appId, mine.id);
    await db().prisma.webhookEndpoint.update({ where: { id: mine.id }, data: { disabledAt: new Date(), disabledReason: "owner" } });
    courier();
    await eventually(mine.statuses).toEqual(["failed"]);
    expect([(await findDelivery(mine.appId, mine.id, sent?.id as string))?.lastError, mine.arrived()]).toEqual([
      "the endpoint was disabled",
      [],
    ]);
  });
});
