import { afterAll, afterEach, beforeAll, beforeEach, vi } from "vitest";
import { POST as webhook } from "../app/api/stripe/webhook/route.ts";
import { env } from "../env.ts";
import { balanceOf } from "../server/ledger/accounts.ts";
import { openCheckout } from "../server/payments/checkout.ts";
import { theStripe } from "../server/payments/stripe.ts";
import type { Database } from "../server/platform/db.ts";
import { asTheDatabase } from "./database.ts";
import { type FakeStripe, startFakeStripe } from "./fake-stripe.ts";
import { makeUser } from "./makers.ts";

/** Makes the payments of a test file use a fake of Stripe, and captures mails. */
export function withStripe(db: () => Database) {
  let fake: FakeStripe;
  let mails: string[] = [];
  const before = { ...env };
  asTheDatabase(db);
  beforeAll(async () => {
    fake = await startFakeStripe();
    theStripe.opened = undefined;
    Object.assign(env, fake.env);
  });
  afterAll(async () => {
    Object.assign(env, before);
    theStripe.opened = undefined;
    await fake.close();
  });
  beforeEach(() => {
    mails = [];
    vi.spyOn(console, "log").mockImplementation((text: string) => void mails.push(text));
  });
  afterEach(() => {
    vi.restoreAllMocks();
  });

  type Event = Parameters<FakeStripe["deliver"]>[0];
  /** Sends a signed event to the webhook; returns the status. */
  async function deliver(event: Event, options?: Parameters<FakeStripe["sign"]>[1]): Promise<number> {
    return (await webhook(new Request("http://quota.test/api/stripe/webhook", fake.sign(event, options)))).status;
  }

  return {
    fake: () => fake,
    deliver,
    async deliverAll(events: readonly Event[]) {
      for (const event of events) if ((await deliver(event)) !== 200) throw new Error(`${event.type} was not taken`);
    },
    mailsTo: (email: string) => mails.filter((mail) => mail.includes(`Mail to ${email}:`)),
    /** A user, with functions that open checkouts and read the wallet. */
    async person(credits = 0n) {
      const user = await makeUser(db(), { credits });
      return {
        ...user,
        owner: { userId: user.id, walletId: user.walletId },
        balance: async () => (await balanceOf(db().sql, user.walletId)).balance,
        /** Opens a checkout; returns the id of its session at Stripe. */
        async checkout(packageId = "usd_10", options: { saveCard?: boolean; returnUrl?: string } = {}) {
          const { url } = await openCheckout({ owner: { userId: user.id, walletId: user.walletId }, packageId, ...options });
          return new URL(url).pathname.split("/").at(-1) as string;
        },
        payment: (sessionId: string) => db().prisma.payment.findUniqueOrThrow({ where: { sessionId }, include: { intent: true } }),
      };
    },
  };
}
