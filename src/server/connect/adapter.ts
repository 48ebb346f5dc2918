import type { Adapter, AdapterPayload } from "oidc-provider";
import type { Prisma } from "../../generated/prisma/client.ts";
import { hashSecret } from "../platform/secrets.ts";
import { endBoundGrant, lockGrant } from "./grants.ts";
import { errors } from "./oidc.ts";
import { redirectUriProblem } from "./redirect-uris.ts";
import { currentEndings, inTransaction, store } from "./request-context.ts";

/**
 * oidc-provider's storage. Codes, tokens and ids are stored as SHA-256 only; 256 random
 * bits need no salt. Clients are the rows of `app`, which developers change.
 */
export function adapterFor(kind: string): Adapter {
  if (kind === "Client") return clients;
  if (kind === "Session") return noSessions;
  return new Records(kind);
}

const GRANTED = new Set(["AuthorizationCode", "AccessToken", "RefreshToken"]);

class Records implements Adapter {
  readonly kind: string;

  constructor(kind: string) {
    this.kind = kind;
  }

  async upsert(id: string, payload: AdapterPayload, expiresIn: number): Promise<void> {
    // The id is the token itself.
    const { jti: _, ...rest } = payload;
    const idHash = hashSecret(id);
    const kept = {
      payload: rest as Prisma.InputJsonValue,
      grantId: this.kind === "Grant" ? id : (payload.grantId ?? null),
      expiresAt: new Date(Date.now() + expiresIn * 1000),
    };
    await (await store()).oAuthRecord.upsert({
      where: { kind_idHash: { kind: this.kind, idHash } },
      create: { kind: this.kind, idHash, ...kept },
      update: kept,
    });
  }

  async find(id: string): Promise<AdapterPayload | undefined> {
    const where = { kind_idHash: { kind: this.kind, idHash: hashSecret(id) } };
    const db = await store();
    // In a transaction the record is going to be used or ended. Locking its grant first serializes requests
    // with codes and tokens of one grant, so that they can't deadlock.
    if (inTransaction() && GRANTED.has(this.kind)) {
      const granted = await db.oAuthRecord.findUnique({ where, select: { grantId: true } });
      if (granted !== null && granted.grantId !== null) await lockGrant(db, granted.grantId);
    }
    const record = await db.oAuthRecord.findUnique({
      where,
      select: { payload: true, consumedAt: true },
    });
    if (record === null) return undefined;
    return {
      ...(record.payload as AdapterPayload),
      jti: id,
      ...(record.consumedAt === null ? {} : { consumed: Math.floor(record.consumedAt.getTime() / 1000) }),
    };
  }

  /**
   * RFC 6749 §4.1.2 and RFC 9700 §4.14.2: a code or refresh token works once, and a
   * second use ends the grant with its tokens. One statement checks and consumes, so
   * that exactly one of several concurrent requests succeeds.
   */
  async consume(id: string): Promise<void> {
    const db = await store();
    const idHash = hashSecret(id);
    const consumed = await db.$executeRaw`
      UPDATE oauth_record SET consumed_at = now() WHERE kind = ${this.kind} AND id_hash = ${idHash} AND consumed_at IS NULL`;
    if (consumed === 1) return;
    const record = await db.oAuthRecord.findUnique({
      where: { kind_idHash: { kind: this.kind, idHash } },
      select: { grantId: true },
    });
    if (record !== null && record.grantId !== null) await endWholeGrant(record.grantId);
    throw new errors.InvalidGrant("already used");
  }

  async destroy(id: string): Promise<void> {
    // oidc-provider ends a whole grant when a token of it is revoked, or used a second time.
    if (this.kind === "Grant") return endWholeGrant(id);
    await (await store()).oAuthRecord.deleteMany({ where: { kind: this.kind, idHash: hashSecret(id) } });
  }

  async revokeByGrantId(grantId: string): Promise<void> {
    await (await store()).oAuthRecord.deleteMany({ where: { kind: this.kind, grantId } });
  }

  // For sessions and device codes, which are not stored.
  async findByUid(): Promise<undefined> {}
  async findByUserCode(): Promise<undefined> {}
}

async function endWholeGrant(grantId: string): Promise<void> {
  const endings = currentEndings();
  const linkedUserId = await endBoundGrant(await store(), grantId, endings?.reason ?? "token_reused");
  if (linkedUserId !== null) endings?.linkIds.add(linkedUserId);
}

/** Nothing is stored: oidc-provider's own sessions would outlive a sign-out. Each authorization takes the user from next-auth's session. */
const noSessions: Adapter = {
  upsert: async () => {},
  find: async () => undefined,
  findByUid: async () => undefined,
  findByUserCode: async () => undefined,
  consume: async () => {},
  destroy: async () => {},
  revokeByGrantId: async () => {},
};

const clients: Adapter = {
  ...noSessions,
  async find(clientId) {
    const app = await (await store()).app.findUnique({
      where: { clientId, deletedAt: null },
      select: {
        clientSecretHash: true,
        formerSecretHash: true,
        formerSecretEndsAt: true,
        redirectUris: true,
        publicClient: true,
        scopes: true,
      },
    });
    const redirectUris = app?.redirectUris.filter((uri) => redirectUriProblem(uri) === null) ?? [];
    // Without a redirect URI no authorization can be answered, so the client counts as unknown.
    if (app === null || redirectUris.length === 0) return undefined;
    const former = app.formerSecretHash !== null && app.formerSecretEndsAt !== null && app.formerSecretEndsAt > new Date();
    return {
      client_id: clientId,
      redirect_uris: redirectUris,
      scope: app.scopes.join(" "),
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
      ...(app.publicClient
        ? { token_endpoint_auth_method: "none" }
        : {
            // client_secret_post is accepted as well.
            token_endpoint_auth_method: "client_secret_basic",
            client_secret: joinHashes(former ? [app.clientSecretHash, app.formerSecretHash as Uint8Array] : [app.clientSecretHash]),
          }),
    };
  },
};

/** oidc-provider expects one secret in plain text. It gets the hashes of the valid secrets instead, which provider.ts compares. */
function joinHashes(hashes: readonly Uint8Array[]): string {
  return hashes.map((hash) => Buffer.from(hash).toString("base64url")).join(".");
}

export function hashesOf(clientSecret: string): Buffer[] {
  return clientSecret.split(".").map((hash) => Buffer.from(hash, "base64url"));
}
