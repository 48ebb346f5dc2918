import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { env } from "#env";
import { onBothDatabases } from "#testing/database.ts";
import { idIn } from "#testing/fake-stripe.ts";
import { makeApp, makeLink } from "#testing/makers.ts";
import { withStripe } from "#testing/payments.ts";
import { POST as webhook } from "../../app/api/stripe/webhook/route.ts";
import { fundLinkedUser } from "../connect/funding.ts";
import { platformAccount } from "../ledger/accounts.ts";
import { transfer } from "../ledger/transfer.ts";
import { verify } from "../ledger/verify.ts";
import { deleteAccount } from "../people/delete-account.ts";
import { transaction } from "../platform/db.ts";
import { newId } from "../platform/ids.ts";
import { statement } from "../usage/statement.ts";
import { autoTopUpOf, startAutoTopUp } from "./auto-top-up.ts";
import { returnFrom } from "./checkout.ts";
import { topUps } from "./history.ts";
import { syncOpenCheckouts } from "./sync.ts";

onBothDatabases("payments through Stripe", (db) => {
  const { fake, deliver, deliverAll, mailsTo, person } = withStripe(db);
  const expectBooksToBalance = async () => expect((await verify(db().sql)).discrepancies).toEqual([]);
  /** Spends until the wallet has `left` credits. */
  const _spend = (walletId: string, amount: bigint) =>
    transfer(db().sql, { id: newId(), debitId: walletId, creditId: platformAccount.revenue, amount, reason: "correction" });

  describe("a checkout", () => {
    test("asks Stripe for the package's price, for the user's one customer, with the payment's id and the user's", async () => {
      const mara = await person();
      const first = await mara.checkout("usd_10");
      const second = await mara.checkout("usd_25", { saveCard: true });
      const calls = fake().calls.filter(({ params }) => JSON.stringify(params).includes(mara.id));
      expect(calls.map(({ path }) => path)).toEqual(["/v1/customers", "/v1/checkout/sessions", "/v1/checkout/sessions"]);
      const [, one, two] = calls.map(({ params }) => params);
      expect(one?.customer).toBe(two?.customer);
      expect(one).toMatchObject({ mode: "payment", line_items: [{ price_data: { unit_amount: "1000", currency: "usd" }, quantity: "1" }] });
      expect(two).toMatchObject({ payment_intent_data: { setup_future_usage: "off_session" } });
      expect(one?.payment_intent_data).not.toHaveProperty("setup_future_usage");
      const payment = await mara.payment(first);
      expect(one).toMatchObject({ client_reference_id: payment.id, metadata: { quota_payment_id: payment.id, quota_user_id: mara.id } });
      expect((await mara.payment(second)).amount).toBe(25_000_000n);
    });

    test("a customer that was deleted at Stripe is made again", async () => {
      const mara = await person();
      await mara.checkout();
      const { customerId } = await db().prisma.billing.findUniqueOrThrow({ where: { userId: mara.id } });
      await db().prisma.billing.update({ where: { userId: mara.id }, data: { customerId: `cus_gone${mara.id}` } });
      await mara.checkout();
      const billing = await db().prisma.billing.findUniqueOrThrow({ where: { userId: mara.id } });
      expect(billing.customerId).toMatch(/^cus_/);
      expect(billing.customerId).not.toBe(customerId);
    });

    test.each([
      [false, { state: "stopped", problem: "Your card is no longer on file.", card: null }],
      [true, { state: "on", problem: null, card: "Visa •••• 4242" }],
    ])(
      "after the customer was deleted at Stripe automatic top-ups stop, unless the next checkout saves a card: %s",
      async (saveCard, settings) => {
        const mara = await person();
        await startAutoTopUp(mara.owner, { threshold: 2_000_000n, packageId: "usd_10", monthlyMaximum: 30_000_000n });
        await deliverAll(fake().pay(await mara.checkout("usd_10", { saveCard: true })));
        expect((await autoTopUpOf(mara.walletId)).state).toBe("on");
        await db().prisma.billing.update({ where: { userId: mara.id }, data: { customerId: `cus_gone${mara.id}` } });
        await deliverAll(fake().pay(await mara.checkout("usd_10", { saveCard })));
        expect(await autoTopUpOf(mara.walletId)).toMatchObject(settings);
      },
    );

    test("is not opened when Stripe fails, and answers with an error", async () => {
      const mara = await person();
      fake().failNext("/v1/checkout/sessions", "error", 3);
      await expect(mara.checkout()).rejects.toMatchObject({ code: "payments_unavailable" });
      expect((await db().prisma.payment.findFirstOrThrow({ where: { userId: mara.id } })).status).toBe("failed");
    });

    test("whose answer from Stripe is lost is opened by the next try of the same call", async () => {
      const mara = await person();
      fake().failNext("/v1/checkout/sessions", "lost");
      const session = await mara.checkout();
      await deliverAll(fake().pay(session));
      expect(await mara.balance()).toBe(10_000_000n);
    });
  });

  describe("a payment is credited exactly once", () => {
    test("however often, in whatever order and beside what other events its events come", async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.record({ which: fc.nat({ max: 4 }), together: fc.boolean() }), { minLength: 4, maxLength: 12 }),
          async (deliveries) => {
            const mara = await person();
            const session = await mara.checkout();
            const { id } = await mara.payment(session);
            const events = fake().pay(session);
            const ways = [
              async () => expect(await deliver(events[0] as never)).toBe(200),
              async () => expect(await deliver(events[1] as never)).toBe(200),
              async () => expect(await returnFrom(id, false)).toMatch(/quota_checkout=(paid|processing)/),
              async () => void (await returnFrom(id, true)),
              () => syncOpenCheckouts(new Date(Date.now() + 3_600_000)),
            ];
            const under: Promise<void>[] = [];
            for (const { which, together } of deliveries) {
              const way = ways[which] as () => Promise<void>;
              under.push(way());
              if (!together) await Promise.all(under.splice(0));
            }
            await Promise.all(under);
            await ways[0]?.();
            expect(await mara.balance()).toBe(10_000_000n);
            await vi.waitFor(() => expect(mailsTo(mara.email)).toHaveLength(1));
          },
        ),
        { numRuns: 12, endOnFailure: true },
      );
      await expectBooksToBalance();
    });

    test("also when its event comes after the checkout was cancelled here", async () => {
      const mara = await person();
      const session = await mara.checkout();
      const paid = fake().pay(session);
      await db().prisma.payment.update({ where: { sessionId: session }, data: { status: "expired" } });
      await deliverAll(paid);
      expect(await mara.balance()).toBe(10_000_000n);
    });

    test("a delayed payment is credited when it succeeds, and not before", async () => {
      const mara = await person();
      const session = await mara.checkout();
      await deliverAll(fake().pay(session, { late: true }));
      expect([await mara.balance(), (await mara.payment(session)).status]).toEqual([0n, "processing"]);
      const arrived = fake().settleLate(session, true);
      await deliverAll([...arrived, ...arrived.toReversed()]);
      expect(await mara.balance()).toBe(10_000_000n);
    });

    test("a delayed payment that fails credits nothing, and its user sees that it failed", async () => {
      const mara = await person();
      const session = await mara.checkout();
      await deliverAll(fake().pay(session, { late: true }));
      await deliverAll(fake().settleLate(session, false));
      expect(await mara.balance()).toBe(0n);
      expect((await topUps(mara.walletId, { take: 10 })).items).toMatchObject([{ status: "failed" }]);
    });

    test("a delayed payment is looked up when no event about its failure comes", async () => {
      const mara = await person();
      const [failing, waiting] = [await mara.checkout(), await mara.checkout()];
      for (const session of [failing, waiting]) await deliverAll(fake().pay(session, { late: true }));
      fake().settleLate(failing, false);
      await syncOpenCheckouts(new Date(Date.now() + 16 * 60_000));
      expect(await mara.payment(failing)).toMatchObject({ status: "failed", problem: "The payment did not go through." });
      expect((await mara.payment(waiting)).status).toBe("processing");
    });

    test("an unpaid checkout expires, and a checkout without events is looked up", async () => {
      const mara = await person();
      const [expired, forgotten] = [await mara.checkout(), await mara.checkout()];
      await deliverAll(fake().expire(expired));
      expect((await mara.payment(expired)).status).toBe("expired");
      fake().pay(forgotten);
      const later = new Date(Date.now() + 16 * 60_000);
      await Promise.all([syncOpenCheckouts(later), syncOpenCheckouts(later)]);
      expect(await mara.balance()).toBe(10_000_000n);
    });

    test("when Stripe does not give the receipt's details, the event fails, and the repeated event fills them in", async () => {
      const mara = await person();
      const session = await mara.checkout();
      const [succeeded] = fake().pay(session);
      fake().failNext(`/v1/payment_intents/${idIn(succeeded)}`, "error", 3);
      const quiet = vi.spyOn(process.stderr, "write").mockReturnValue(true);
      expect(await deliver(succeeded as never)).toBe(500);
      quiet.mockRestore();
      expect(await mara.balance()).toBe(10_000_000n);
      await vi.waitFor(() => expect(mailsTo(mara.email)).toEqual([expect.stringContaining("Your receipt")]));
      expect(await deliver(succeeded as never)).toBe(200);
      expect(await mara.payment(session)).toMatchObject({ method: "Visa •••• 4242", receiptUrl: expect.stringContaining("https://") });
      expect(await mara.balance()).toBe(10_000_000n);
    });
  });

  describe("the webhook", () => {
    const event = async () => fake().pay(await (await person()).checkout())[0] as never;

    test("refuses an event that is not signed with its secret, changed, or too old", async () => {
      const real = await event();
      const send = async (headers: Record<string, string>, body: string) =>
        (await webhook(new Request("http://quota.test/api/stripe/webhook", { method: "POST", headers, body }))).status;
      const { headers, body } = fake().sign(real);
      const statuses = [
        await deliver(real, { secret: "whsec_another" }),
        await deliver(real, { timestamp: Math.floor(Date.now() / 1000) - 3_600 }),
        await send({}, body),
        await send(headers, body.replace("usd", "eur")),
        await send({ "stripe-signature": "t=1,v1=00" }, "{"),
      ];
      expect(statuses).toEqual([400, 400, 400, 400, 400]);
    });

    test("refuses every event when it has no secret", async () => {
      const real = await event();
      const secret = env.STRIPE_WEBHOOK_SECRET;
      env.STRIPE_WEBHOOK_SECRET = undefined;
      expect(await deliver(real)).toBe(503);
      env.STRIPE_WEBHOOK_SECRET = secret;
    });

    test("ignores events about payments that are not Quota's", async () => {
      const mara = await person();
      const session = await mara.checkout();
      const [succeeded, completed] = fake().pay(session);
      for (const event of [succeeded, completed]) (event?.data.object as unknown as { metadata: object }).metadata = {};
      await deliverAll([succeeded as never, completed as never]);
      expect(await mara.balance()).toBe(0n);
    });

    test("credits nothing when another amount was paid than ordered", async () => {
      const mara = await person();
      const [, completed] = fake().pay(await mara.checkout());
      (completed?.data.object as unknown as { amount_total: number }).amount_total = 1;
      const quiet = vi.spyOn(process.stderr, "write").mockReturnValue(true);
      expect(await deliver(completed as never)).toBe(500);
      quiet.mockRestore();
      expect(await mara.balance()).toBe(0n);
    });
  });

  test("a user who returns before Stripe's event finds the credits in the wallet", async () => {
    const mara = await person();
    const session = await mara.checkout("usd_10", { returnUrl: "/wallet?x=1" });
    const { id } = await mara.payment(session);
    fake().pay(session);
    expect(await returnFrom(id, false)).toMatch(/\/wallet\?x=1&quota_checkout=paid$/);
    expect(await mara.balance()).toBe(10_000_000n);
    expect(await returnFrom(newId(), false)).toBeNull();
  });

  test("the statement names the source and reason of credits, and which top-up has a receipt", async () => {
    const [mara, developer] = [await person(), await person(5_000_000n)];
    const app = await makeApp(db(), { ownerId: developer.id });
    const link = await makeLink(db(), app.id, mara, { externalUserId: "their-mara" });
    const session = await mara.checkout();
    await deliverAll(fake().pay(session));
    const gift = { id: newId(), appId: app.id, fromWalletId: developer.walletId, externalUserId: link.externalUserId, amount: 700_000n };
    await transaction((tx) => fundLinkedUser(tx, { ...gift, description: "Thanks" }), db());
    const entries = async (walletId: string) => (await statement(db().prisma, { walletId, take: 10 })).items;
    expect(await entries(mara.walletId)).toMatchObject([
      { reason: "funding", amount: 700_000n, appName: "Test app", description: "Thanks" },
      { reason: "top_up", amount: 10_000_000n, description: "Paid through Stripe", paymentId: (await mara.payment(session)).id },
    ]);
    expect((await entries(developer.walletId))[0]).toMatchObject({
      amount: -700_000n,
      externalUserId: "their-mara",
      description: "Thanks",
    });
  });

  test("no more than thirty checkouts of a wallet are open at once", async () => {
    const mara = await person();
    const expiresAt = new Date(Date.now() + 60_000);
    const open = { ...mara.owner, provider: "stripe", amount: 1n, cents: 1, expiresAt } as const;
    await db().prisma.payment.createMany({ data: Array.from({ length: 30 }, () => open) });
    await expect(mara.checkout()).rejects.toMatchObject({ code: "rate_limit_exceeded" });
  });

  test("deleting an account deletes its customer and card at Stripe", async () => {
    const mara = await person();
    await deliverAll(fake().pay(await mara.checkout("usd_10", { saveCard: true })));
    const { customerId } = await db().prisma.billing.findUniqueOrThrow({ where: { userId: mara.id } });
    expect(await deleteAccount(mara.id)).toEqual({ kind: "deleted" });
    await vi.waitFor(() =>
      expect(fake().calls.some(({ method, path }) => method === "DELETE" && path === `/v1/customers/${customerId}`)).toBe(true),
    );
    expect(await db().prisma.billing.findUniqueOrThrow({ where: { userId: mara.id } })).toMatchObject({
      paymentMethodId: null,
      autoTopUp: "off",
    });
  });

  test("verify finds a payment that was not credited, a credit without a payment, a refund that was not taken back, and a wrong debt", async () => {
    const mara = await person();
    const session = await mara.checkout();
    const events = fake().pay(session);
    await deliverAll([...events, ...fake().refund(idIn(events[0]), 100).events]);
    const { id, transferId } = await mara.payment(session);
    const rules = async () => [...new Set((await verify(db().sql)).discrepancies.map(({ rule }) => rule))];
    expect(await rules()).toEqual([]);
    const { prisma } = db();
    await prisma.payment.update({ where: { id }, data: { amount: 9_000_000n } });
    expect(await rules()).toContain("a paid top-up is credited once");
    await prisma.payment.update({ where: { id }, data: { amount: 10_000_000n, status: "open", transferId: null } });
    expect(await rules()).toContain("a credited top-up is paid");
    await prisma.payment.update({ where: { id }, data: { status: "paid", transferId } });
    await prisma.reversal.updateMany({ where: { paymentIntentId: idIn(events[0]) }, data: { taken: 0n } });
    expect(await rules()).toEqual([
      "a refund or dispute of a credited top-up stands in the books",
      "what refunds and disputes took from a wallet left it",
    ]);
    await prisma.reversal.updateMany({ where: { paymentIntentId: idIn(events[0]) }, data: { taken: 1_000_000n } });
    await prisma.debt.update({ where: { walletId: mara.walletId }, data: { amount: 5n } });
    expect(await rules()).toEqual(["a wallet owes what was not covered, less what it repaid", "what wallets owe is receivable"]);
    await prisma.debt.update({ where: { walletId: mara.walletId }, data: { amount: 0n } });
    expect(await rules()).toEqual([]);
  });
});
