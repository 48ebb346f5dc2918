import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { v7 as uuidv7 } from "uuid";
import { expect } from "vitest";
import { platformAccount } from "../server/ledger/accounts.ts";
import { transfer } from "../server/ledger/transfer.ts";
import type { Database } from "../server/platform/db.ts";
import { toBigInt } from "../server/platform/sql.ts";
import { LedgerModel, type ModelApp, type ModelKey, type ModelLink, type ModelToken } from "./ledger-model.ts";
import { makeApp, makeKey, makeLink, makeToken, makeUser } from "./makers.ts";

/** What property tests of the ledger have in common: requests and settlements of chance, and a world that has a model. */

/** Picks one of the things that exist at that moment, modulo their count. */
export const small = fc.nat({ max: 1_000 });
/** From one credit to `max`. */
export const credits = (max: number) => fc.integer({ min: 1, max }).map(BigInt);

export const aRequest = fc.record({
  key: small,
  /** With an access token of a link instead of a key. */
  byToken: fc.constantFrom(false, false, false, true),
  user: fc.oneof(
    { weight: 5, arbitrary: small },
    { weight: 3, arbitrary: fc.constantFrom(null, "sandbox_empty", "sandbox_missing", `no"bo\\dy,{}`, "") },
  ),
  model: fc.constantFrom("a", "a", "a", "b"),
  desired: credits(160),
  /** How much of the desire is the minimum, in percent. */
  minimum: fc.constantFrom(0n, 20n, 100n),
  /** How much of it is modest, in percent; the hold takes an eighth of what is available when that is more. */
  modest: fc.constantFrom(100n, 100n, 40n, 10n),
  waits: fc.boolean(),
});
export const aSettlement = fc.record({
  hold: small,
  base: fc.oneof(fc.constant(0n), credits(120), credits(400)),
  markup: fc.oneof(fc.constant(0n), credits(40)),
});
export const aLimit = fc.oneof(
  { weight: 4, arbitrary: credits(400) },
  { weight: 2, arbitrary: credits(900) },
  { weight: 2, arbitrary: fc.constant(null) },
);
export const aMarkup = fc.constantFrom(0, 1, 1_234, 10_000, 100_000);
/** Most of them allow spending. */
export const aScope = fc.constantFrom(
  "credits.read credits.spend",
  "credits.read credits.spend",
  "openid credits.spend credits.read",
  "credits.spend",
  "credits.read",
  "openid",
);
export type Linked = { id: string; appId: string; user: { id: string; walletId: string }; token: Token; model: ModelLink };
/** The newest access token for a link. */
export type Token = { hash: Uint8Array; grantId: string; model: ModelToken };
export type Made<A> = A extends fc.Arbitrary<infer T> ? T : never;
export type ARequest = Made<typeof aRequest>;
export type ASettlement = Made<typeof aSettlement>;

/** Makes an access token for a link, in the database and for the model. */
export async function issue(db: Database, made: Parameters<typeof makeToken>[1], link: ModelLink, scope = link.scope): Promise<Token> {
  const { hash, grantId } = await makeToken(db, made, { scope });
  return { hash, grantId, model: { link, scope, valid: true } };
}

/** Three users, two apps of two of them, keys of every mode, and links that share wallets. */
export async function world(db: Database, markups: readonly [number, number]) {
  const model = new LedgerModel({
    revenue: platformAccount.revenue,
    shortfall: platformAccount.shortfall,
    sandbox: platformAccount.sandbox,
    unbounded: new Set(Object.values(platformAccount)),
  });
  for (const id of Object.values(platformAccount)) model.account(id);
  await readInto(db, model);

  const people = await Promise.all([600n, 400n, 250n].map((amount) => makeUser(db, { credits: amount })));
  for (const [index, amount] of [600n, 400n, 250n].entries())
    model.transfer(`opening ${index}`, platformAccount.promotions, people[index]?.walletId ?? "", amount);

  const apps: { id: string; model: ModelApp }[] = [];
  const keys: { id: string | null; hash: Uint8Array; model: ModelKey | null }[] = [{ id: null, hash: randomBytes(32), model: null }];
  for (const [index, markupBps] of markups.entries()) {
    const owner = people[index];
    if (owner === undefined) throw new Error("more people than apps");
    const allowedModels = index === 0 ? [] : ["a"];
    const made = await makeApp(db, { ownerId: owner.id, markupBps, allowedModels });
    const app: ModelApp = {
      markupBps: BigInt(markupBps),
      allowedModels,
      owner: owner.walletId,
      sandbox: made.sandboxWalletId,
      earnings: made.earningsId,
    };
    apps.push({ id: made.id, model: app });
    const opening = { id: uuidv7(), debitId: platformAccount.sandbox, creditId: made.sandboxWalletId, amount: 150n };
    await transfer(db.sql, { ...opening, reason: "grant" });
    model.transfer(opening.id, opening.debitId, opening.creditId, opening.amount);
    model.account(made.earningsId);
    for (const mode of ["developer", "user", "test"] as const) {
      const key = await makeKey(db, made.id, mode);
      keys.push({ id: key.id, hash: key.hash, model: { app, mode, valid: true } });
    }
  }
  const links: Linked[] = [];
  for (const [app, person, externalUserId, monthlyLimit, allowedModels, agreedMarkupBps] of [
    [0, 1, `o'b"r\\ien,{🙂}`, 300n, [], 1_000],
    [0, 2, "plain", undefined, ["a", "c"], 100_000],
    [1, 2, "plain", 200n, [], 20_000],
    [1, 0, "NULL", 450n, [], 0],
    [1, 1, "x".repeat(255), undefined, [], 100_000],
  ] as const) {
    const [inApp, user] = [apps[app], people[person]];
    if (inApp === undefined || user === undefined) throw new Error("no such app or person");
    const made = await makeLink(db, inApp.id, user, {
      externalUserId,
      allowedModels: [...allowedModels],
      agreedMarkupBps,
      ...(monthlyLimit === undefined ? {} : { monthlyLimit }),
    });
    const link: ModelLink = {
      app: inApp.model,
      externalUserId,
      wallet: user.walletId,
      agreedMarkupBps: BigInt(agreedMarkupBps),
      scope: made.scope,
      allowedModels,
      paused: false,
    };
    model.links.push(link);
    if (monthlyLimit !== undefined) expect(model.setLimit(model.agreement(link), monthlyLimit, made.limitId)).toBe(null);
    links.push({ id: made.id, appId: inApp.id, user, token: await issue(db, made, link), model: link });
  }
  return { model, people, apps, keys, links };
}

/** Every account that the model has, as the database has it, with deltas that are not folded. */
export async function balances(db: Database, model: LedgerModel): Promise<Map<string, { available: bigint; held: bigint }>> {
  const rows = await db.sql.query(
    {
      name: "test_balances",
      text: `SELECT a.id, a.available + coalesce((SELECT sum(d.amount) FROM account_delta d WHERE d.account_id = a.id), 0)::bigint AS available, a.held
        FROM account a WHERE a.id = ANY ($1::uuid[])`,
    },
    [`{${[...model.accounts.keys()].join(",")}}`],
  );
  return new Map(rows.map((row) => [String(row.id), { available: toBigInt(row.available), held: toBigInt(row.held) }]));
}

/** Makes the model's balances those of the database. */
export async function readInto(db: Database, model: LedgerModel): Promise<void> {
  for (const [id, balance] of await balances(db, model)) Object.assign(model.account(id), balance);
}
