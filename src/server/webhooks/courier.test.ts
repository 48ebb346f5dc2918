import { describe, expect, test } from "vitest";
import { onBothDatabases } from "#testing/database.ts";
import { makeApp } from "#testing/makers.ts";
import { accept, answer, type Behaviour, closeEarly, drip, flood, hang, startReceiver } from "#testing/receiver.ts";
import { connected, eventually, type Listener, withCouriers } from "#testing/webhooks.ts";
import { transaction } from "../platform/db.ts";
import { idOfShown } from "../platform/ids.ts";
import { findDelivery, listDeliveries } from "./deliveries.ts";
import { createEndpoint, sendTestEvent, updateEndpoint } from "./endpoints.ts";
import { type EventType, eventTable, eventTypes } from "./events.ts";
import { emit } from "./outbox.ts";

onBothDatabases("webhooks", (db) => {
  const { courier, listener, receiver, tell } = withCouriers(db);

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
      for (const [index, [, behaviour]] of ways.entries()) receiver().behave(bad[index]?.path as string, behaviour);
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
        const each = bad[index] as Listener;
        const [delivery] = await each.deliveries();
        const tries = async () => (await findDelivery(each.appId, each.id, delivery?.id as string))?.tries ?? [];
        // On a busy machine an attempt may also have timed out, so one of the tries has to match.
        await eventually(tries).toContainEqual(
          expect.objectContaining({
            responseStatus: status,
            error: expect.stringContaining(error),
            url: receiver().url + each.path,
            requestHeaders: expect.objectContaining({ "webhook-signature": expect.stringMatching(/^v1,/) }),
          }),
        );
        for (const { responseBody } of await tries()) expect((responseBody ?? "").length, name).toBeLessThanOrEqual(2_048);
      }
      for (const each of bad) receiver().behave(each.path, accept);
      for (const [index, each] of bad.entries()) {
        await eventually(each.statuses).toEqual(["succeeded", "succeeded", "succeeded"]);
        const users = each.arrived().map(({ body }) => JSON.parse(body).data.external_user_id);
        expect(new Set(users), ways[index]?.[0]).toEqual(new Set(["a", "b", "c"]));
      }
      expect(receiver().at("/elsewhere")).toHaveLength(0);
    });

    test("a 2xx that streams without end is a success, of which 2 kB are kept", async () => {
      const mine = await listener();
      receiver().behave(mine.path, flood(200));
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
    receiver().behave(slow.path, hang);
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
});
