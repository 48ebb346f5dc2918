import type { Prisma } from "../../generated/prisma/client.ts";
import type { Tx } from "../platform/db.ts";
import { mintClientId, mintSecret } from "../platform/secrets.ts";

/** What may be shown of an app to its owner. The secret's hash is never in it. */
export const appItem = {
  id: true,
  name: true,
  siteUrl: true,
  logoUrl: true,
  markupBps: true,
  allowedModels: true,
  clientId: true,
  clientSecretFragment: true,
  redirectUris: true,
  publicClient: true,
  createdAt: true,
} satisfies Prisma.AppSelect;

export type NewApp = {
  ownerId: string;
  name: string;
  siteUrl?: string | null;
  /** 1/100 of a percent, 0 to 100,000. */
  markupBps?: number;
  redirectUris?: string[];
  /** The ledger accounts of the app, opened by the caller in the same transaction. */
  earningsId: string;
  sandboxWalletId: string;
};

/** Registers an app. Its client secret is in the answer and nowhere else, ever again. */
export async function registerApp(
  tx: Tx,
  input: NewApp,
): Promise<{ app: Prisma.AppGetPayload<{ select: typeof appItem }>; clientSecret: string }> {
  const { secret, hash, fragment } = mintSecret("quota_secret_");
  const app = await tx.prisma.app.create({
    data: {
      ownerId: input.ownerId,
      name: input.name,
      siteUrl: input.siteUrl ?? null,
      markupBps: input.markupBps ?? 0,
      redirectUris: input.redirectUris ?? [],
      earningsId: input.earningsId,
      sandboxWalletId: input.sandboxWalletId,
      clientId: mintClientId(),
      clientSecretHash: hash,
      clientSecretFragment: fragment,
    },
    select: appItem,
  });
  return { app, clientSecret: secret };
}
