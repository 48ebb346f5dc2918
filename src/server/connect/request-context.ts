import { AsyncLocalStorage } from "node:async_hooks";
import type { Prisma } from "../../generated/prisma/client.ts";
import { prisma, type Tx } from "../platform/db.ts";
import { processWide } from "../platform/process-wide.ts";
import type { GrantEnd } from "./grants.ts";

/**
 * Context of one request to the authorization server. oidc-provider calls the storage
 * (adapter.ts) without a transaction, so the storage finds the transaction here.
 */
export type RequestContext = {
  tx?: Tx;
  endings?: Endings;
};

/** Grants that a request ends: the reason, and the links that lost one. After the commit, links without a grant are ended. */
export type Endings = { reason: GrantEnd; linkIds: Set<string> };

const context = processWide("OAuth request context", () => new AsyncLocalStorage<RequestContext>());

/** Runs `work`; what the authorization server stores in it is part of `tx`. */
export function withTransaction<T>(tx: Tx, work: () => Promise<T>, endings?: Endings): Promise<T> {
  return context.run({ tx, ...(endings === undefined ? {} : { endings }) }, work);
}

/** The endings of the current request; undefined outside of `withTransaction`. */
export function currentEndings(): Endings | undefined {
  return context.getStore()?.endings;
}

/** The database for the current request: its transaction, if it has one. */
export async function store(): Promise<Prisma.TransactionClient> {
  return context.getStore()?.tx?.prisma ?? (await prisma());
}

export function inTransaction(): boolean {
  return context.getStore()?.tx !== undefined;
}
