import { TRPCError } from "@trpc/server";
import { expect, test } from "vitest";
import { asTheDatabase, withDatabase } from "#testing/database.ts";
import { makeApp, makeUser } from "#testing/makers.ts";
import { refusalOf } from "./refusals.ts";
import { createCaller } from "./root.ts";

const db = withDatabase("embedded");
asTheDatabase(db);

async function developer() {
  const owner = await makeUser(db());
  const app = await makeApp(db(), { ownerId: owner.id });
  return { appId: app.id, webhooks: createCaller({ user: owner }).webhooks };
}
const good = { url: "https://1.1.1.1/hook", events: ["user.connected" as const] };

test("an endpoint can be created, read, changed, tested and removed, and its secret revealed and rotated", async () => {
  const { appId, webhooks } = await developer();
  const { endpoint, secret } = await webhooks.create({ appId, ...good, description: "  " });
  const one = { appId, endpointId: endpoint.id };
  expect(endpoint).toMatchObject({ description: null, balanceLowThreshold: 100_000n, sandbox: false, notice: null });
  expect([await webhooks.list({ appId }), await webhooks.get(one)]).toEqual([[endpoint], endpoint]);
  expect(JSON.stringify(endpoint, (_key, value) => (typeof value === "bigint" ? Number(value) : value))).not.toContain("whsec_");
  expect((await webhooks.revealSecret(one)).secret).toBe(secret);
  expect((await webhooks.rotateSecret(one)).secret).not.toBe(secret);
  expect(await webhooks.update({ ...one, events: ["balance.low"], balanceLowThreshold: 7n })).toMatchObject({
    url: good.url,
    events: ["balance.low"],
    balanceLowThreshold: 7n,
  });
  const sent = await webhooks.sendTest(one);
  expect((await webhooks.deliveries(one)).items).toEqual([sent]);
  const record = await webhooks.delivery({ ...one, deliveryId: sent.id });
  expect([record.tries, JSON.parse(record.body as string).type]).toEqual([[], "balance.low"]);
  await webhooks.update({ ...one, enabled: false });
  expect((await webhooks.delivery({ ...one, deliveryId: sent.id })).status).toBe("failed");
  await expect(webhooks.retry({ ...one, deliveryId: sent.id })).rejects.toThrow("disabled");
  await webhooks.update({ ...one, enabled: true });
  expect((await webhooks.retry({ ...one, deliveryId: sent.id })).status).toBe("pending");
  await webhooks.remove(one);
  await expect(webhooks.get(one)).rejects.toThrow("There is no webhook endpoint with this id.");
});

test("an address that is refused is reported at its field", async () => {
  const { appId, webhooks } = await developer();
  for (const [url, sentence] of [
    ["example.com", "Write the whole address"],
    ["http://127.0.0.1/", "public addresses only"],
  ] as const) {
    const input = { appId, ...good, url };
    const error = await webhooks.create(input).catch((thrown: unknown) => thrown as TRPCError);
    expect(error).toBeInstanceOf(TRPCError);
    const refusal = refusalOf(error as TRPCError, input);
    expect(refusal).toMatchObject({ status: 400, error: "bad_request", fields: { url: expect.stringContaining(sentence) } });
  }
  expect(await webhooks.list({ appId })).toEqual([]);
});
