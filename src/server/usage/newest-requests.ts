import type { PrismaClient } from "../../generated/prisma/client.ts";

const SHOWN = 5;

/** The five newest requests of an app, for the page that waits for the first one. */
export async function newestRequests(db: PrismaClient, appId: string) {
  return db.usage.findMany({
    where: { appId },
    select: {
      id: true,
      createdAt: true,
      model: true,
      outcome: true,
      billingMode: true,
      upstreamStatus: true,
      promptTokens: true,
      completionTokens: true,
      base: true,
      markup: true,
    },
    orderBy: { id: "desc" },
    take: SHOWN,
  });
}
