import { expect, test } from "vitest";
import { onBothDatabases } from "#testing/database.ts";
import { makeApp } from "#testing/makers.ts";
import { answer } from "#testing/receiver.ts";
import { connected, eventually, withCouriers } from "#testing/webhooks.ts";
import { newId } from "../platform/ids.ts";
import { bodyOf, KEPT_MS, listDeliveries, purgeDeliveries } from "./deliveries.ts";
import { sendTestEvent } from "./endpoints.ts";

onBothDatabases("webhooks", (db) => {
  const { courier, listener, receiver, stopAll, tell } = withCouriers(db);

  test("finished deliveries and their events are deleted 30 days after they were made, and pending ones are kept", async () => {
    const mine = await listener();
    courier();
    await tell(mine.appId);
    await eventually(mine.statuses).toEqual(["succeeded"]);
    await stopAll();
    receiver().behave(mine.path, answer(500));
    await tell(mine.appId, connected("pending"));
    courier({ firstRetryMs: 3_600_000 });
    await eventually(async () => (await mine.deliveries()).filter(({ attempts }) => attempts === 1).length).toBe(2);
    await purgeDeliveries(new Date(Date.now() + KEPT_MS - 60_000));
    expect(await mine.deliveries()).toHaveLength(2);
    await purgeDeliveries(new Date(Date.now() + KEPT_MS + 60_000));
    expect(await mine.statuses()).toEqual(["pending"]);
    expect(await db().prisma.outboxEvent.count({ where: { appId: mine.appId } })).toBe(1);
  });

  test("deliveries are listed newest first, in pages, by type and status", async () => {
    const mine = await listener({ events: ["user.connected", "user.disconnected"] });
    courier();
    for (let index = 0; index < 5; index++) await sendTestEvent(mine.appId, mine.id, index === 2 ? "user.disconnected" : "user.connected");
    await eventually(async () => (await mine.statuses()).every((status) => status === "succeeded")).toBe(true);
    const all = await mine.deliveries();
    const first = await listDeliveries(mine.appId, mine.id, { take: 3 });
    const second = await listDeliveries(mine.appId, mine.id, { take: 3, before: first.next as string });
    expect([...first.items, ...second.items]).toEqual(all);
    expect([first.next, second.next]).toEqual([all[2]?.id, null]);
    expect((await listDeliveries(mine.appId, mine.id, { take: 9, type: "user.disconnected" })).items).toEqual([all[2]]);
    expect((await listDeliveries(mine.appId, mine.id, { take: 9, status: "failed" })).items).toEqual([]);
    expect((await listDeliveries((await makeApp(db())).id, mine.id, { take: 9 })).items).toEqual([]);
    expect(
      bodyOf({
        id: newId(),
        type: "user.connected",
        createdAt: new Date(),
        data: { external_user_id: "x", user_id: "y", connected_at: "2026-01-01T00:00:00.000Z" },
      }),
    ).toMatch(/"data":\{"user_id":"y","external_user_id":"x","connected_at"/);
  });
});
