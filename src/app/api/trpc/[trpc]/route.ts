import { fetchRequestHandler } from "@trpc/server/adapters/fetch";
import { isDatabaseAway } from "#server/platform/away.ts";
import { AppError } from "#server/platform/errors.ts";
import { log } from "#server/platform/log.ts";
import { createContext } from "#server/trpc/context.ts";
import { appRouter } from "#server/trpc/root.ts";
import { metaOf } from "#server/trpc/trpc.ts";
import { MOST_IN_A_BATCH } from "#trpc/batch.ts";

function handler(request: Request): Promise<Response> {
  return fetchRequestHandler({
    endpoint: "/api/trpc",
    req: request,
    router: appRouter,
    createContext,
    maxBatchSize: MOST_IN_A_BATCH,
    responseMeta: metaOf,
    onError: ({ path, error }) => {
      if (isDatabaseAway(error)) log.warn("the database was away for a dashboard procedure", { path, error: error.cause ?? error });
      else if (error.cause instanceof AppError) {
        if (error.cause.status >= 500) log.warn(error.cause.code, { path, error: error.cause });
      } else if (error.code === "INTERNAL_SERVER_ERROR") log.error("a dashboard procedure failed", { path, error: error.cause ?? error });
    },
  });
}

export { handler as GET, handler as POST };
