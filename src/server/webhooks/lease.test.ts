import { beforeEach, expect, test } from "vitest";
import { asTheDatabase, onBothDatabases } from "#testing/database.ts";
import { makeApp } from "#testing/makers.ts";
import { newId } from "../platform/ids.ts";
import { plainArray } from "../platform/sql.ts";
import { listDeliveries, retryDelivery } from "./deliveries.ts";
import { type DueDelivery, endAllLeases, failDisabled, releaseLeases, reread, type TakeOptions, takeDue } from "./lease.ts";

onBothDatabases("leases on deliveries", (db) => {
  asTheDatabase(db);
  // takeDue would take what another test left pending.
  beforeEach(async () => void (await db().prisma.webhookDelivery.deleteMany()));

  /** An endpoint that is only a row, with deliveries that have been due for so many seconds. */
  async function endpoint(...dueForSeconds: number[]) {
    const app = await makeApp(db());
    const { id } = await db().prisma.webhookEndpoint.create({
      data: { appId: app.id, url: "https://example.com/", events: ["user.connected"], secret: Buffer.alloc(1) },
    });
    const ids: string[] = [];
    for (const seconds of dueForSeconds) {
      const event = await db().prisma.outboxEvent.create({
        data: { appId: app.id, type: "user.connected", data: {}, relayedAt: new Date() },
      });
      const nextAttemptAt = new Date(Date.now() - seconds * 1000);
      const delivery = await db().prisma.webhookDelivery.create({
        data: { id: newId(), appId: app.id, endpointId: id, eventId: event.id, type: event.type, nextAttemptAt },
      });
      ids.push(delivery.id);
    }
    return { id, appId: app.id, ids };
  }

  const take = (options: Partial<TakeOptions> = {}) =>
    takeDue(db().sql, { lease: newId(), leaseMs: 60_000, most: 100, mostOfOne: 32, room: new Map(), ...options });
  const idsOf = (due: readonly DueDelivery[]) => due.map(({ deliveryId }) => deliveryId).sort();
  const rowOf = (id: string | undefined) => db().prisma.webhookDelivery.findUniqueOrThrow({ where: { id: id as string } });

  test("takeDue leases deliveries that are due, and again only after their lease has ended", async () => {
    const { ids } = await endpoint(60, 1, -60);
    const first = await take();
    expect(idsOf(first)).toEqual(ids.slice(0, 2).sort());
    expect(await take()).toEqual([]);
    await db().prisma.webhookDelivery.updateMany({ where: { id: ids[0] as string }, data: { leasedUntil: new Date(Date.now() - 1_000) } });
    expect(idsOf(await take())).toEqual([ids[0]]);
    // The first courier has lost its lease on that delivery.
    const looked = await Promise.all(first.map(async (due) => [due.deliveryId, await reread(db().sql, due)] as const));
    expect(looked.filter(([, due]) => due !== null).map(([id]) => id)).toEqual([ids[1]]);
  });

  test("concurrent calls of takeDue lease each delivery once", async () => {
    const all = await Promise.all([1, 2, 3].map(() => endpoint(...Array.from({ length: 10 }, () => 1))));
    const taken: DueDelivery[] = [];
    for (let round = 0; round < 6; round++) taken.push(...(await Promise.all(Array.from({ length: 6 }, () => take({ most: 7 })))).flat());
    expect(idsOf(taken)).toEqual(all.flatMap(({ ids }) => ids).sort());
  });

  test("the endpoint that has waited longest comes first, with at most its room, and an endpoint without room is left out", async () => {
    const old = await endpoint(300, 300, 300, 300);
    const older = await endpoint(400, 400, 400, 400);
    const full = await endpoint(500, 500);
    const oneMore = await endpoint(200, 200);
    const room = new Map([
      [full.id, 0],
      [oneMore.id, 1],
    ]);
    const taken = await take({ mostOfOne: 3, most: 7, room });
    const count = (id: string) => taken.filter(({ endpointId }) => endpointId === id).length;
    expect([count(full.id), count(older.id), count(old.id), count(oneMore.id)]).toEqual([0, 3, 3, 1]);
    expect((await take({ most: 1, room })).map(({ endpointId }) => endpointId)).toEqual([older.id]);
  });

  test("a released delivery can be leased at once, and a release does not end another courier's lease", async () => {
    const { ids } = await endpoint(1, 1);
    const first = await take();
    await db().prisma.webhookDelivery.updateMany({ where: { id: ids[0] as string }, data: { leaseToken: null, leasedUntil: null } });
    const [second] = await take();
    await releaseLeases(db().sql, first);
    expect(await rowOf(ids[0])).toMatchObject({ leaseToken: second?.lease });
    expect(idsOf(await take())).toEqual([ids[1]]);
  });

  test("endAllLeases ends leases that have not expired", async () => {
    const { ids } = await endpoint(1, 1);
    await take();
    await endAllLeases(db().sql);
    expect(idsOf(await take())).toEqual([...ids].sort());
  });

  test("failDisabled fails deliveries of disabled endpoints only", async () => {
    const there = await endpoint(1);
    const off = await endpoint(1);
    await db().prisma.webhookEndpoint.update({ where: { id: off.id }, data: { disabledAt: new Date(), disabledReason: "owner" } });
    const taken = await take();
    expect(taken.filter(({ disabled }) => disabled).map(({ endpointId }) => endpointId)).toEqual([off.id]);
    await failDisabled(db().sql, taken);
    expect([await rowOf(there.ids[0]), await rowOf(off.ids[0])]).toMatchObject([
      { status: "pending" },
      { status: "failed", leaseToken: null },
    ]);
  });

  test("deliveries of a paused endpoint are not leased until the pause ends, except one that is retried by hand", async () => {
    const { id, appId, ids } = await endpoint(1, 1, 1);
    const quietUntil = new Date(Date.now() + 600_000);
    await db().prisma.webhookEndpoint.update({ where: { id }, data: { quietUntil } });
    expect(await take()).toEqual([]);
    // The log shows the end of the pause as the next attempt.
    const due = async () => (await listDeliveries(appId, id, { take: 9 })).items.map(({ nextAttemptAt }) => nextAttemptAt);
    expect(await due()).toEqual([quietUntil, quietUntil, quietUntil]);
    await retryDelivery(appId, id, ids[1] as string);
    expect(idsOf(await take())).toEqual([ids[1]]);
    expect((await due()).filter((at) => at?.getTime() === quietUntil.getTime())).toHaveLength(2);
    await db().prisma.webhookDelivery.updateMany({ data: { nextAttemptAt: new Date(Date.now() - 1) } });
    expect(idsOf(await take())).toEqual([ids[0], ids[2]].sort());
  });

  // The version before leases used jobs of pg-boss. During an update its servers run beside new ones.
  const assign = `
    UPDATE webhook_delivery d SET job_id = gen_random_uuid() FROM (
      SELECT id FROM webhook_delivery WHERE status = 'pending' AND job_id IS NULL ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED) w
    WHERE d.id = w.id RETURNING d.id, d.job_id, d.endpoint_id, d.next_attempt_at`;
  const due = `SELECT id FROM webhook_delivery d WHERE d.id = ANY ($2::uuid[]) AND d.job_id = ANY ($1::uuid[]) AND d.status = 'pending'`;
  const before = {
    assign: () => db().sql.query({ name: "before_assign", text: assign }, []),
    due: (jobs: readonly { job_id?: unknown; id?: unknown }[]) =>
      db().sql.query({ name: "before_due", text: due }, [
        plainArray(jobs.map(({ job_id }) => String(job_id))),
        plainArray(jobs.map(({ id }) => String(id))),
      ]),
  };

  test("a server of the version before takes no delivery that is leased, and takes released ones", async () => {
    const { ids } = await endpoint(1, 1);
    const taken = await take({ most: 1 });
    expect((await before.assign()).map(({ id }) => id)).toEqual(ids.filter((id) => id !== taken[0]?.deliveryId));
    await releaseLeases(db().sql, taken);
    expect((await before.assign()).map(({ id }) => id)).toEqual(idsOf(taken));
  });

  test("a delivery that a server of the version before has taken is leased five minutes after it was due, not before", async () => {
    const { ids } = await endpoint(290, 310);
    const jobs = await before.assign();
    expect(jobs).toHaveLength(2);
    expect(idsOf(await take())).toEqual([ids[1]]);
    expect(await take()).toEqual([]);
    // That server's job finds another job_id, and so no delivery to send.
    expect((await before.due(jobs)).map(({ id }) => id)).toEqual([ids[0]]);
  });
});
