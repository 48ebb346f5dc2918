import { createHmac, timingSafeEqual } from "node:crypto";
import { Webhook as StandardWebhook } from "standardwebhooks";
import { Webhook as Svix } from "svix";
import { expect, test } from "vitest";
import { onBothDatabases } from "#testing/database.ts";
import type { Received } from "#testing/receiver.ts";
import { eventually, withCouriers } from "#testing/webhooks.ts";
import { revealSecret, rotateSecret } from "./endpoints.ts";

onBothDatabases("webhooks", (db) => {
  const { courier, listener, stopAll, tell } = withCouriers(db);

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
});
