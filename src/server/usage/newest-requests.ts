import type { PrismaClient } from "../../generated/prisma/client.ts";

const SHOWN = 5;

/** The newest requests of an app, as somebody who waits for the first one wants to see them. */
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
