import { balanceOf } from "../server/ledger/accounts.ts";
import { type HoldVerdict, settle } from "../server/ledger/hold.ts";
import { endOfMonth, limitState, refillLimit, setLimit } from "../server/ledger/limits.ts";
import { type Database, transaction } from "../server/platform/db.ts";
import { holdOne, holdRequest, settlement } from "./ledger-requests.ts";
import { makeApp, makeKey, makeLink, makeUser } from "./makers.ts";

export const NOW = new Date();
/** When the calendar month of `NOW` ends, in UTC. */
export const NEXT_MONTH = endOfMonth(NOW);

/** A user with plenty of credits and a limit for one app, and what tests do with it. */
export async function limited(db: Database, monthlyLimit?: bigint) {
  const app = await makeApp(db);
  const key = await makeKey(db, app.id, "user");
  const person = await makeUser(db, { credits: 1_000_000n });
  const link = await makeLink(db, app.id, person, monthlyLimit === undefined ? {} : { monthlyLimit });
  const request = (amount: bigint) => holdRequest(key, { externalUserId: link.externalUserId, amount });
  return {
    person,
    link,
    request,
    hold: async (amount: bigint) => (await holdOne(db.sql, request(amount))).id,
    settle: async (id: string, amount: bigint) => settle(db.sql, [settlement(id, amount)]),
    spend: async (amount: bigint) => settle(db.sql, [settlement((await holdOne(db.sql, request(amount))).id, amount)]),
    set: (limit: bigint | null, now = NOW) => transaction((tx) => setLimit(tx, link.id, limit, now), db),
    refill: (now = NOW) => transaction((tx) => refillLimit(tx, link.id, now), db),
    row: () => db.prisma.linkedUser.findUniqueOrThrow({ where: { id: link.id } }),
    /** What the next request could spend of the limit. */
    left: async () => {
      const { limitId } = await db.prisma.linkedUser.findUniqueOrThrow({ where: { id: link.id } });
      return limitId === null ? null : (await balanceOf(db.sql, limitId)).available;
    },
    state: async (now = NOW) => {
      const row = await db.prisma.linkedUser.findUniqueOrThrow({ where: { id: link.id }, include: { agreement: true } });
      return limitState(db.sql, { ...row, ...row.agreement }, { now });
    },
  };
}

/** Why a request was refused, or the kind of its verdict. */
export const reason = (verdict: HoldVerdict | undefined) => (verdict?.kind === "refused" ? verdict.reason : verdict?.kind);
