import { createHmac, timingSafeEqual } from "node:crypto";
import type { ServerResponse } from "node:http";
import { Webhook as StandardWebhook } from "standardwebhooks";
import { Webhook as Svix } from "svix";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { env } from "#env";
import { asTheDatabase, onBothDatabases } from "#testing/database.ts";
import { makeApp } from "#testing/makers.ts";
import {
  accept,
  answer,
  type Behaviour,
  closeEarly,
  drip,
  flood,
  hang,
  type Received,
  type Receiver,
  startReceiver,
} from "#testing/receiver.ts";
import { transaction } from "../platform/db.ts";
import { idOfShown, newId, shownId } from "../platform/ids.ts";
import { type Courier, type CourierOptions, startCourier } from "./courier.ts";
import { bodyOf, findDelivery, KEPT_MS, listDeliveries, purgeDeliveries, retryDelivery } from "./deliveries.ts";
import { createEndpoint, findEndpoint, removeEndpoint, revealSecret, rotateSecret, sendTestEvent, updateEndpoint } from "./endpoints.ts";
import { type EventType, eventTable, eventTypes, type QuotaEvent } from "./events.ts";
import { takeDue } from "./lease.ts";
import { emit } from "./outbox.ts";
import { DISABLE_AFTER_MS, type DisabledEndpoint } from "./results.ts";

const SERVER_SECRET = "a server's secret";

onBothDatabases("webhooks", (db) => {
  let receiver: Receiver;
  const couriers: Courier[] = [];
  beforeAll(async () => {
    receiver = await startReceiver();
    env.NEXTAUTH_SECRET = SERVER_SECRET;
    env.QUOTA_WEBHOOK_ALLOW_LOOPBACK = true;
  });
  asTheDatabase(db);
  afterEach(async () => {
    await Promise.all(couriers.splice(0).map((courier) => courier.stop()));
  });
  afterAll(() => receiver.close());

  const disabled: DisabledEndpoint[] = [];
  function courier(options: Partial<CourierOptions> = {}): Courier {
    const started = startCourier(db(), {
      serverSecret: SERVER_SECRET,
      allowLoopback: true,
      timeoutMs: 5_000,
      firstRetryMs: 20,
      pollMs: 20,
      onDisabled: (endpoint) => void disabled.push(endpoint),
      ...options,
    });
    couriers.push(started);
    return started;
  }
  const stopAll = () => Promise.all(couriers.splice(0).map((each) => each.stop()));

  /** An app with an endpoint at a path of its own. */
  async function listener(options: { events?: EventType[]; sandbox?: boolean; appId?: string } = {}) {
    const appId = options.appId ?? (await makeApp(db())).id;
    const path = `/${newId()}`;
    const { endpoint, secret } = await createEndpoint(appId, {
      url: receiver.url + path,
      events: options.events ?? ["user.connected"],
      sandbox: options.sandbox ?? false,
    });
    const deliveries = async () => (await listDeliveries(appId, endpoint.id, { take: 100 })).items;
    return {
      appId,
      path,
      id: endpoint.id,
      secret,
      deliveries,
      arrived: () => receiver.at(path),
      statuses: async () => (await deliveries()).map(({ status }) => status),
    };
  }

  const connected = (external_user_id = "user_1"): QuotaEvent => ({
    type: "user.connected",
    data: { user_id: newId(), external_user_id, connected_at: new Date().toISOString() },
  });
  const tell = (appId: string, event: QuotaEvent = connected()) => transaction((tx) => emit(tx, appId, event), db());
  const eventually = (check: () => unknown) => expect.poll(check, { timeout: 30_000, interval: 10 });

  test("an event is delivered to the endpoints of its app that subscribed to its type, and to no other endpoint", async () => {
    const mine = await listener();
    const also = await listener({ appId: mine.appId });
    const other = await listener({ appId: mine.appId, events: ["user.disconnected"] });
    const play = await listener({ appId: mine.appId, sandbox: true });
    const stranger = await listener();
    await tell(mine.appId);
    courier();
    await eventually(async () => [await mine.statuses(), await also.statuses()]).toEqual([["succeeded"], ["succeeded"]]);
    expect([other, play, stranger].map((each) => each.arrived().length)).toEqual([0, 0, 0]);
    expect(mine.arrived()).toHaveLength(1);
    expect(mine.arrived()[0]?.headers["webhook-id"]).toBe(also.arrived()[0]?.headers["webhook-id"]);
  });

  test("an event of a transaction that was rolled back is not delivered", async () => {
    const mine = await listener();
    await transaction(async (tx) => {
      await emit(tx, mine.appId, connected());
      throw new Error("taken back");
    }, db()).catch(() => {});
    await tell(mine.appId, connected("after"));
    courier();
    await eventually(() => mine.arrived().map(({ body }) => JSON.parse(body).data.external_user_id)).toEqual(["after"]);
  });

  test("standardwebhooks, svix and node:crypto verify a delivery, and refuse another body", async () => {
    const mine = await listener();
    await tell(mine.appId);
    courier();
    await eventually(() => mine.arrived().length).toBe(1);
    const { headers, body } = mine.arrived()[0] as Received;
    expect(new StandardWebhook(mine.secret).verify(body, headers)).toEqual(JSON.parse(body));
    expect(() => new Svix(mine.secret).verify(body, headers)).not.toThrow();
    expect(() => new Svix(mine.secret).verify(`${body} `, headers)).toThrow();

    const verify = (rawBody: string) => {
      const expected = createHmac("sha256", mine.secret).update(rawBody).digest();
      const given = Buffer.from(headers["x-quota-signature"] as string, "hex");
      return given.length === expected.length && timingSafeEqual(given, expected);
    };
    expect([verify(body), verify(`${body} `)]).toEqual([true, false]);
  });

  test("after a rotation both secrets verify until the overlap ends; without overlap only the new one does", async () => {
    const mine = await listener();
    let now = Date.now();
    courier({ now: () => now });
    const deliver = async () => {
      const before = mine.arrived().length;
      await tell(mine.appId);
      await eventually(() => mine.arrived().length).toBe(before + 1);
      const { headers, body } = mine.arrived().at(-1) as { headers: Record<string, string>; body: string };
      return (secret: string) => {
        try {
          // The libraries compare the timestamp with Date.now().
          const [signed] = (headers["webhook-signature"] as string).split(" ").filter(
            (each) =>
              each ===
              `v1,${createHmac("sha256", Buffer.from(secret.slice(6), "base64"))
                .update(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`)
                .digest("base64")}`,
          );
          if (Math.abs(now - Date.now()) < 60_000) new Svix(secret).verify(body, headers);
          return signed !== undefined;
        } catch {
          return false;
        }
      };
    };
    const rotated = await rotateSecret(mine.appId, mine.id, 60_000);
    expect(await revealSecret(mine.appId, mine.id)).toBe(rotated?.secret);
    const during = await deliver();
    expect([during(mine.secret), during(rotated?.secret as string)]).toEqual([true, true]);
    now += 61_000;
    const later = await deliver();
    expect([later(mine.secret), later(rotated?.secret as string)]).toEqual([false, true]);
    now = Date.now();
    const last = await rotateSecret(mine.appId, mine.id, 0);
    const atOnce = await deliver();
    expect([mine.secret, rotated?.secret, last?.secret].map((secret) => atOnce(secret as string))).toEqual([false, false, true]);
  });

  test("the table does not contain a secret's plain text", async () => {
    const mine = await listener();
    const { secret } = await db().prisma.webhookEndpoint.findUniqueOrThrow({ where: { id: mine.id } });
    expect(Buffer.from(secret).includes(mine.secret)).toBe(false);
    expect(Buffer.from(secret).includes(Buffer.from(mine.secret.slice(6), "base64"))).toBe(false);
  });

  test("with another server secret nothing is sent and the log says why; with the right one the delivery is sent", async () => {
    const mine = await listener();
    courier({ serverSecret: "another" });
    await tell(mine.appId);
    await eventually(async () => (await mine.deliveries())[0]?.lastError).toContain("Rotate it");
    expect(mine.arrived()).toHaveLength(0);
    await stopAll();
    courier();
    await eventually(mine.statuses).toEqual(["succeeded"]);
  });

  describe("a receiver that misbehaves", () => {
    const ways: [name: string, behaviour: Behaviour, error: string, status: number | null][] = [
      ["is slow", hang, "no complete answer within", null],
      ["answers 500", answer(500, "broken"), "answered 500", 500],
      [
        "answers 301",
        (_received, outgoing) => void outgoing.writeHead(301, { location: "/elsewhere" }).end(),
        "redirects are not followed",
        301,
      ],
      ["closes without an answer", (_received, outgoing) => void outgoing.destroy(), "closed", null],
      ["closes early", closeEarly, "", 200],
      ["answers 200 and drips without end", drip, "no complete answer within", 200],
      ["answers 503 and streams without end", flood(503), "answered 503", 503],
    ];

    test("delays no other endpoint, gets every event after it is repaired, and has each attempt in its log", async () => {
      const bad = await Promise.all(ways.map(() => listener()));
      const good = await listener();
      for (const [index, [, behaviour]] of ways.entries()) receiver.behave(bad[index]?.path as string, behaviour);
      for (const each of bad) for (const user of ["a", "b", "c"]) await tell(each.appId, connected(user));
      courier({ timeoutMs: 300 });
      await eventually(async () =>
        (await Promise.all(bad.map((each) => each.deliveries()))).every(
          (each) => each.every(({ attempts }) => attempts > 0) && each.length === 3,
        ),
      ).toBe(true);
      await tell(good.appId);
      await eventually(good.statuses).toEqual(["succeeded"]);

      for (const [index, [name, , error, status]] of ways.entries()) {
        const each = bad[index] as Awaited<ReturnType<typeof listener>>;
        const [delivery] = await each.deliveries();
        const tries = async () => (await findDelivery(each.appId, each.id, delivery?.id as string))?.tries ?? [];
        // On a busy machine an attempt may also have timed out, so one of the tries has to match.
        await eventually(tries).toContainEqual(
          expect.objectContaining({
            responseStatus: status,
            error: expect.stringContaining(error),
            url: receiver.url + each.path,
            requestHeaders: expect.objectContaining({ "webhook-signature": expect.stringMatching(/^v1,/) }),
          }),
        );
        for (const { responseBody } of await tries()) expect((responseBody ?? "").length, name).toBeLessThanOrEqual(2_048);
      }
      for (const each of bad) receiver.behave(each.path, accept);
      for (const [index, each] of bad.entries()) {
        await eventually(each.statuses).toEqual(["succeeded", "succeeded", "succeeded"]);
        const users = each.arrived().map(({ body }) => JSON.parse(body).data.external_user_id);
        expect(new Set(users), ways[index]?.[0]).toEqual(new Set(["a", "b", "c"]));
      }
      expect(receiver.at("/elsewhere")).toHaveLength(0);
    });

    test("a 2xx that streams without end is a success, of which 2 kB are kept", async () => {
      const mine = await listener();
      receiver.behave(mine.path, flood(200));
      await tell(mine.appId);
      courier();
      await eventually(mine.statuses).toEqual(["succeeded"]);
      const [delivery] = await mine.deliveries();
      expect((await findDelivery(mine.appId, mine.id, delivery?.id as string))?.tries[0]?.responseBody).toHaveLength(2_048);
    });

    test("that is down gets its events when it is up again, with the same id and body in every attempt", async () => {
      const own = await startReceiver();
      const { id: appId } = await makeApp(db());
      const { endpoint } = await createEndpoint(appId, { url: `${own.url}/hook`, events: ["user.connected"] });
      own.behave("/hook", answer(500));
      await tell(appId);
      courier();
      await eventually(() => own.received.length).toBeGreaterThan(0);
      await own.down();
      await eventually(async () => (await listDeliveries(appId, endpoint.id, { take: 1 })).items[0]?.lastError).toContain("refused");
      own.behave("/hook", accept);
      await own.up();
      await eventually(async () => (await listDeliveries(appId, endpoint.id, { take: 1 })).items[0]?.status).toBe("succeeded");
      expect(new Set(own.received.map(({ body, headers }) => `${headers["webhook-id"]} ${body}`)).size).toBe(1);
      await own.close();
    });
  });

  test("100 deliveries to a slow endpoint do not delay those to another endpoint", async () => {
    const slow = await listener();
    const quick = await listener();
    receiver.behave(slow.path, hang);
    for (let index = 0; index < 100; index++) await tell(slow.appId);
    courier({ timeoutMs: 2_000 });
    await eventually(() => slow.arrived().length).toBeGreaterThanOrEqual(8);
    const waiting = slow.arrived().length;
    for (let index = 0; index < 20; index++) await tell(quick.appId);
    await eventually(() => quick.arrived().length).toBe(20);
    // Two rounds of 8 requests at most.
    expect(waiting).toBeLessThanOrEqual(16);
    await updateEndpoint(slow.appId, slow.id, { enabled: false });
  });

  describe("deliveries that wait in the queue of their endpoint", () => {
    /** An endpoint whose receiver does not answer until `letGo`; 12 deliveries are leased and 8 of them sent. */
    async function queueOfTwelve(options: Partial<CourierOptions> = {}) {
      const mine = await listener();
      const held: ServerResponse[] = [];
      receiver.behave(mine.path, (_received, outgoing) => void held.push(outgoing));
      for (let index = 0; index < 12; index++) await tell(mine.appId);
      courier(options);
      /** Deliveries that a courier has a lease on, and for how many seconds more. */
      const leases = () =>
        db().prisma.$queryRaw<{ id: string; seconds: number }[]>`
          SELECT id, extract(epoch FROM leased_until - now())::float AS seconds FROM webhook_delivery
          WHERE endpoint_id = ${mine.id}::uuid AND job_id IS NOT NULL AND leased_until > now()`;
      await eventually(async () => [(await leases()).length, mine.arrived().length]).toEqual([12, 8]);
      return {
        ...mine,
        leases,
        letGo() {
          receiver.behave(mine.path, accept);
          for (const outgoing of held.splice(0)) outgoing.writeHead(204).end();
        },
      };
    }

    test("are leased for longer than the longest queue takes", async () => {
      const mine = await queueOfTwelve({ timeoutMs: 10_000 });
      // At most 32 are leased, 8 are sent at a time, and each may take 10 s.
      for (const { seconds } of await mine.leases()) expect(seconds).toBeGreaterThan((32 / 8) * 10);
      mine.letGo();
      await eventually(async () => (await mine.statuses()).every((status) => status === "succeeded")).toBe(true);
    });

    test("are not sent when the endpoint was disabled", async () => {
      let now = Date.now();
      const mine = await queueOfTwelve({ now: () => now });
      await updateEndpoint(mine.appId, mine.id, { enabled: false });
      now += 2_000;
      mine.letGo();
      await eventually(async () => (await mine.leases()).length).toBe(0);
      expect(mine.arrived()).toHaveLength(8);
    });

    test("are sent once when another courier leases them after their lease has expired", async () => {
      let now = Date.now();
      const mine = await queueOfTwelve({ now: () => now });
      const sent = new Set(mine.arrived().map(({ headers }) => headers["webhook-id"]));
      const waiting = (await mine.deliveries()).filter(({ eventId }) => !sent.has(shownId("evt", eventId))).map(({ id }) => id);
      expect(waiting).toHaveLength(4);
      now += 3_600_000;
      await db().prisma.webhookDelivery.updateMany({ where: { id: { in: waiting } }, data: { leasedUntil: new Date(0) } });
      await eventually(async () => (await mine.leases()).length).toBe(12);
      mine.letGo();
      await eventually(async () => (await mine.statuses()).every((status) => status === "succeeded")).toBe(true);
      await stopAll();
      expect(mine.arrived()).toHaveLength(12);
    });
  });

  test.for([204, 500])("recording a %d does not deadlock with disabling or removing the endpoint", async (status, { skip }) => {
    skip(db().kind === "embedded", "it has one connection");
    const mine = await listener();
    const held: ServerResponse[] = [];
    receiver.behave(mine.path, (_received, outgoing) => void held.push(outgoing));
    await tell(mine.appId);
    courier({ firstRetryMs: 3_600_000 });
    await eventually(() => held.length).toBe(1);
    await transaction(async (tx) => {
      // In the order of updateEndpoint and removeEndpoint: the endpoint first, then its deliveries.
      await tx.prisma.$queryRaw`SELECT id FROM webhook_endpoint WHERE id = ${mine.id}::uuid FOR UPDATE`;
      const [us] = await tx.prisma.$queryRaw<{ pid: number }[]>`SELECT pg_backend_pid() AS pid`;
      held[0]?.writeHead(status).end();
      await eventually(async () => {
        const [waits] = await db().prisma.$queryRaw<{ there: boolean }[]>`
          SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE ${us?.pid}::int = ANY (pg_blocking_pids(pid))) AS there`;
        return waits?.there;
      }).toBe(true);
      // Throws when the courier's transaction, which waits for this one, has locked a delivery.
      await tx.prisma.$queryRaw`SELECT id FROM webhook_delivery WHERE endpoint_id = ${mine.id}::uuid FOR UPDATE NOWAIT`;
    }, db());
    await eventually(async () => (await mine.deliveries())[0]?.attempts).toBe(1);
  });

  test("1,000 events arrive once each, also with two couriers", async () => {
    const mine = await listener();
    const count = 1_000;
    await db().prisma.outboxEvent.createMany({
      data: Array.from({ length: count }, (_each, index) => ({
        id: newId(),
        appId: mine.appId,
        type: "user.connected",
        data: connected(`user_${index}`).data,
      })),
    });
    const seen = new Map<string, number>();
    receiver.behave(mine.path, (received, outgoing, incoming) => {
      seen.set(received.headers["webhook-id"] as string, (seen.get(received.headers["webhook-id"] as string) ?? 0) + 1);
      accept(received, outgoing, incoming);
    });
    courier();
    // The embedded database belongs to one server.
    if (db().kind === "postgres") courier();
    await eventually(() => db().prisma.webhookDelivery.count({ where: { endpointId: mine.id, status: "succeeded" } })).toBe(count);
    expect([seen.size, Math.max(...seen.values())]).toEqual([count, 1]);
  });

  test("a delivery that a dead process has leased is sent after the lease has ended; with the embedded database, at the next start", async () => {
    const mine = await listener();
    await sendTestEvent(mine.appId, mine.id);
    // Like a process that dies right after it leased a delivery.
    const take = () => takeDue(db().sql, { lease: newId(), leaseMs: 3_600_000, most: 1_000, mostOfOne: 1_000, room: new Map() });
    expect((await take()).filter(({ endpointId }) => endpointId === mine.id)).toHaveLength(1);
    expect((await take()).filter(({ endpointId }) => endpointId === mine.id)).toHaveLength(0);
    // The embedded database has one process, so leases at its start are those of a process that died.
    if (db().kind === "postgres") {
      const other = await listener();
      await sendTestEvent(other.appId, other.id);
      courier();
      await eventually(other.statuses).toEqual(["succeeded"]);
      expect(mine.arrived()).toHaveLength(0);
      await db().prisma.webhookDelivery.updateMany({ where: { endpointId: mine.id }, data: { leasedUntil: new Date() } });
    } else courier();
    await eventually(mine.statuses).toEqual(["succeeded"]);
  });

  test("when a courier stops, another one can lease at once what it has not begun to send", async () => {
    const mine = await listener();
    const held: ServerResponse[] = [];
    receiver.behave(mine.path, (_received, outgoing) => void held.push(outgoing));
    for (let index = 0; index < 12; index++) await tell(mine.appId);
    courier();
    await eventually(() => held.length).toBe(8);
    await eventually(() => db().prisma.webhookDelivery.count({ where: { endpointId: mine.id, leaseToken: { not: null } } })).toBe(12);
    const stopped = stopAll();
    receiver.behave(mine.path, accept);
    for (const outgoing of held) outgoing.writeHead(204).end();
    await stopped;
    expect(await db().prisma.webhookDelivery.count({ where: { endpointId: mine.id, leaseToken: { not: null } } })).toBe(0);
    expect(mine.arrived()).toHaveLength(8);
    courier();
    await eventually(async () => (await mine.statuses()).every((status) => status === "succeeded")).toBe(true);
    expect(mine.arrived()).toHaveLength(12);
  });

  test("a delivery has failed after 14 attempts, and a retry by hand sends the same body", async () => {
    const mine = await listener();
    receiver.behave(mine.path, answer(500, "no\u0000thing"));
    await tell(mine.appId);
    courier({ firstRetryMs: 0.001 });
    await eventually(mine.statuses).toEqual(["failed"]);
    const [delivery] = await mine.deliveries();
    expect(delivery).toMatchObject({ attempts: 14, lastResponseStatus: 500, nextAttemptAt: null });
    receiver.behave(mine.path, accept);
    expect(await retryDelivery(mine.appId, mine.id, delivery?.id as string)).toMatchObject({ kind: "retried" });
    await eventually(mine.statuses).toEqual(["succeeded"]);
    expect(new Set(mine.arrived().map(({ body }) => body)).size).toBe(1);
    const record = await findDelivery(mine.appId, mine.id, delivery?.id as string);
    expect([record?.tries.length, record?.body]).toEqual([15, mine.arrived()[0]?.body]);
    expect(await retryDelivery((await makeApp(db())).id, mine.id, delivery?.id as string)).toEqual({ kind: "not_found" });
  });

  test("a retry by hand is sent at once, instead of the next attempt", async () => {
    const mine = await listener();
    receiver.behave(mine.path, answer(500));
    await tell(mine.appId);
    courier({ firstRetryMs: 3_600_000 });
    await eventually(async () => (await mine.deliveries())[0]?.attempts).toBe(1);
    receiver.behave(mine.path, accept);
    await retryDelivery(mine.appId, mine.id, (await mine.deliveries())[0]?.id as string);
    await eventually(mine.statuses).toEqual(["succeeded"]);
    expect(mine.arrived()).toHaveLength(2);
  });

  test("an endpoint that fails for five days without a success is disabled, and its owner is told once", async () => {
    const mine = await listener();
    receiver.behave(mine.path, answer(500));
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
    receiver.behave(mine.path, accept);
    await sendTestEvent(mine.appId, mine.id);
    await eventually(async () => (await findEndpoint(mine.appId, mine.id))?.failingSince).toBe(null);
    receiver.behave(mine.path, answer(500));
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
      { id: mine.id, appId: mine.appId, url: receiver.url + mine.path, reason: "failing" },
    ]);
    // Pending deliveries are failed, and can be retried after the endpoint is enabled.
    expect(new Set(await mine.statuses())).toEqual(new Set(["failed", "succeeded"]));
    const [last] = await mine.deliveries();
    expect(await retryDelivery(mine.appId, mine.id, last?.id as string)).toEqual({ kind: "disabled" });
    await updateEndpoint(mine.appId, mine.id, { enabled: true });
    receiver.behave(mine.path, accept);
    expect(await retryDelivery(mine.appId, mine.id, last?.id as string)).toMatchObject({ kind: "retried" });
    await eventually(async () => (await mine.statuses())[0]).toBe("succeeded");
  });

  test("a receiver that answers 410 disables its endpoint at once, and its owner is told once", async () => {
    const mine = await listener();
    const other = await listener({ appId: mine.appId });
    receiver.behave(mine.path, answer(410));
    for (let each = 0; each < 3; each++) await tell(mine.appId);
    courier({ firstRetryMs: 3_600_000 });
    if (db().kind === "postgres") courier({ firstRetryMs: 3_600_000 });
    await eventually(async () => (await findEndpoint(mine.appId, mine.id))?.disabledReason).toBe("gone");
    await eventually(async () => (await mine.deliveries()).every(({ status }) => status === "failed")).toBe(true);
    await eventually(other.statuses).toEqual(["succeeded", "succeeded", "succeeded"]);
    await eventually(() => disabled.filter(({ id }) => id === mine.id)).toEqual([
      { id: mine.id, appId: mine.appId, url: receiver.url + mine.path, reason: "gone" },
    ]);
    expect((await findEndpoint(mine.appId, mine.id))?.notice).toContain("410 Gone");
    receiver.behave(mine.path, accept);
    await updateEndpoint(mine.appId, mine.id, { enabled: true });
    const [last] = await mine.deliveries();
    expect(await retryDelivery(mine.appId, mine.id, last?.id as string)).toMatchObject({ kind: "retried" });
    await eventually(async () => (await mine.statuses())[0]).toBe("succeeded");
  });

  test("410 from an address that the endpoint no longer has does not disable it", async () => {
    const mine = await listener();
    const moved = `/${newId()}`;
    receiver.behave(mine.path, (_received, outgoing) => {
      void updateEndpoint(mine.appId, mine.id, { url: receiver.url + moved }).then(() => outgoing.writeHead(410).end());
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
        receiver.behave(mine.path, asks(status, typeof value === "string" ? value : value()));
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
      receiver.behave(mine.path, (_received, outgoing) => void held.push(outgoing));
      for (let index = 0; index < 20; index++) await tell(mine.appId);
      courier();
      await eventually(() => held.length).toBe(8);
      await eventually(() => db().prisma.webhookDelivery.count({ where: { endpointId: mine.id, leaseToken: { not: null } } })).toBe(20);
      receiver.behave(mine.path, answer(status, "", headers));
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
      receiver.behave(mine.path, asks(429, "600"));
      await tell(mine.appId);
      courier({ firstRetryMs: 20 });
      await eventually(async () => (await mine.deliveries())[0]?.attempts).toBe(1);
      receiver.behave(mine.path, accept);
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
    receiver.behave(gone.path, answer(500));
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

  test("a test event of each type arrives in its documented shape, without an email address", async () => {
    const mine = await listener();
    courier();
    for (const type of eventTypes) await sendTestEvent(mine.appId, mine.id, type);
    await eventually(() => mine.arrived().length).toBe(eventTypes.length);
    const bodies = mine.arrived().map(({ body }) => JSON.parse(body) as { id: string; type: EventType; created_at: string; data: object });
    expect(new Set(bodies.map(({ type }) => type))).toEqual(new Set(eventTypes));
    for (const { id, type, data, created_at, ...rest } of bodies) {
      expect([idOfShown("evt", id) !== null, new Date(created_at).toISOString(), rest]).toEqual([true, created_at, {}]);
      expect(eventTable[type].data.strict().safeParse(data).error).toBe(undefined);
      expect(Object.keys(data)).toEqual(Object.keys(eventTable[type].data.shape));
      expect(JSON.stringify(data)).not.toMatch(/@|email/);
    }
  });

  test("finished deliveries and their events are deleted 30 days after they were made, and pending ones are kept", async () => {
    const mine = await listener();
    courier();
    await tell(mine.appId);
    await eventually(mine.statuses).toEqual(["succeeded"]);
    await stopAll();
    receiver.behave(mine.path, answer(500));
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
