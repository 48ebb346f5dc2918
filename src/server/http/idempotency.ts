import { createHash } from "node:crypto";
import { env } from "#env";
import type { BillingMode } from "../../generated/prisma/enums.ts";
import { prisma, type Tx, transaction } from "../platform/db.ts";
import { AppError } from "../platform/errors.ts";
import { sessionSecret } from "../sessions.ts";
import { seal, unseal } from "../webhooks/secret.ts";
import type { Reply } from "./exchange.ts";

/**
 * Idempotency-Key, as drafted in draft-ietf-httpapi-idempotency-key-header: the
 * first request with a key is carried out, its answer is kept for a day, and who
 * asks again with the same body gets that answer. Only what succeeded is kept;
 * after an error the same key may try again.
 */
export type Idempotency = {
  /** Keeps the answer, in the transaction that moves the money. */
  remember(tx: Tx, answer: KeptAnswer): Promise<void>;
  /** Keeps the answer of a request that moved no money, unless it was kept already. */
  keep(answer: KeptAnswer): Promise<void>;
  /** Forgets the attempt after an error, unless an answer was kept. */
  forget(): Promise<void>;
};

type KeptAnswer = { status: number; headers: Record<string, string>; body: string };

export type Claim = { kind: "first"; idempotency: Idempotency } | { kind: "replay"; reply: Reply };

const KEPT_MS = 24 * 60 * 60 * 1000;

/**
 * With `secret` the answer has a secret in it, and is kept encrypted.
 *
 * Throws `bad_request` for an unusable key and `idempotency_conflict` for another body or a request that still runs.
 */
export async function claim(
  caller: { appId: string } & ({ billingMode: BillingMode } | { userId: string }),
  clientKey: string,
  request: { method: string; path: string; externalUserId: string | null; body: string },
  headers: Record<string, string>,
  options: { secret?: boolean } = {},
): Promise<Claim> {
  const { appId } = caller;
  // The sandbox has keys of its own: its answers moved no credits. So has each person, whose
  // answers are nobody else's.
  const owner = "userId" in caller ? `user ${caller.userId}` : caller.billingMode === "test" ? "test" : "live";
  const key = `${owner}:${clientKey}`;
  if (!/^[\x21-\x7e]{1,255}$/.test(clientKey)) {
    throw new AppError("bad_request", { param: "Idempotency-Key", message: "Idempotency-Key must be 1 to 255 visible ASCII characters." });
  }
  const db = await prisma();
  const requestHash = createHash("sha256")
    .update(JSON.stringify([request.method, request.path, request.externalUserId, request.body]))
    .digest();
  const expiresAt = new Date(Date.now() + env.QUOTA_REQUEST_TIMEOUT_MS + 60_000);
  for (let attempt = 0; attempt < 3; attempt++) {
    // A key whose time is over is free again. Two that arrive together: the primary key lets one of them in.
    await db.idempotencyRecord.deleteMany({ where: { appId, key, expiresAt: { lt: new Date() } } });
    const { count } = await db.idempotencyRecord.createMany({ data: { appId, key, requestHash, expiresAt }, skipDuplicates: true });
    if (count === 1) return { kind: "first", idempotency: claimed(appId, key, expiresAt, options.secret === true) };
    const record = await db.idempotencyRecord.findUnique({ where: { appId_key: { appId, key } } });
    if (record === null) continue;
    if (!requestHash.equals(record.requestHash))
      throw new AppError("idempotency_conflict", { message: "This Idempotency-Key was used with another request." });
    if (record.status === null) {
      throw new AppError("idempotency_conflict", {
        message: "The first request with this Idempotency-Key is still running.",
        headers: { "retry-after": "1" },
      });
    }
    return {
      kind: "replay",
      reply: {
        status: record.status,
        headers: { ...(record.headers as Record<string, string>), ...headers, "idempotency-replayed": "true" },
        body:
          record.body === null
            ? null
            : options.secret === true
              ? await unsealed(appId, key, record.body)
              : Buffer.from(record.body).toString("utf8"),
      },
    };
  }
  throw new AppError("idempotency_conflict", { headers: { "retry-after": "1" } });
}

const placeOf = (appId: string, key: string) => `answer ${appId} ${key}`;

async function unsealed(appId: string, key: string, body: Uint8Array): Promise<string> {
  const text = unseal(await sessionSecret(), placeOf(appId, key), body);
  if (text !== null) return text;
  throw new AppError("idempotency_conflict", {
    message:
      "The request with this Idempotency-Key was carried out, and its answer can't be read any more: the server's secret has changed.",
  });
}

function claimed(appId: string, key: string, expiresAt: Date, secret: boolean): Idempotency {
  // Whoever took the key over after it expired has another expiry; that record is not ours.
  const ours = { appId, key, status: null, expiresAt };
  let kept = false;
  return {
    async keep(answer) {
      if (!kept) await transaction((tx) => this.remember(tx, answer));
    },
    async remember(tx, answer) {
      const { count } = await tx.prisma.idempotencyRecord.updateMany({
        where: ours,
        data: {
          status: answer.status,
          headers: answer.headers,
          body: secret ? seal(await sessionSecret(), placeOf(appId, key), answer.body) : Buffer.from(answer.body),
          expiresAt: new Date(Date.now() + KEPT_MS),
        },
      });
      if (count !== 1) throw new Error("the idempotency key was taken over while its request ran");
      kept = true;
    },
    async forget() {
      await (await prisma()).idempotencyRecord.deleteMany({ where: ours });
    },
  };
}

/** Removes what has expired; for the hourly job. */
export async function purgeIdempotency(): Promise<void> {
  await (await prisma()).idempotencyRecord.deleteMany({ where: { expiresAt: { lt: new Date() } } });
}
