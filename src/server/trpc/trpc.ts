import { initTRPC, TRPCError } from "@trpc/server";
import superjson from "superjson";
import { z } from "zod";
import { appItem } from "../apps/apps.ts";
import { prisma } from "../platform/db.ts";
import { isUuid } from "../platform/ids.ts";

export type Context = { user: { id: string; email: string; walletId: string } | null };

const t = initTRPC.context<Context>().create({
  // For bigint and Date.
  transformer: superjson,
  errorFormatter: ({ shape, error }) => {
    if (error.code === "INTERNAL_SERVER_ERROR") {
      // What really happened is for the log; it may name tables or strangers.
      return {
        ...shape,
        message: "Something went wrong on our side. Try again in a moment.",
        data: { ...shape.data, stack: undefined, fields: null },
      };
    }
    if (error.cause instanceof z.ZodError) {
      return { ...shape, message: "A field needs another value.", data: { ...shape.data, fields: firstIssues(error.cause) } };
    }
    return { ...shape, data: { ...shape.data, fields: null } };
  },
});

export const { router, createCallerFactory } = t;

/** For people who are signed in. */
export const userProcedure = t.procedure.use(({ ctx, next }) => {
  if (ctx.user === null) throw new TRPCError({ code: "UNAUTHORIZED", message: "Sign in to continue." });
  return next({ ctx: { user: ctx.user } });
});

/** For the owner of one app. A stranger's app and one that does not exist look the same. */
export const appProcedure = userProcedure.input(z.object({ appId: z.string() })).use(async ({ ctx, input, next }) => {
  const app = isUuid(input.appId)
    ? await (await prisma()).app.findFirst({ where: { id: input.appId, ownerId: ctx.user.id }, select: appItem })
    : null;
  if (app === null) throw new TRPCError({ code: "NOT_FOUND", message: "There is no such app." });
  return next({ ctx: { app } });
});

/** The first sentence about each field, by its name. */
function firstIssues(error: z.ZodError): Record<string, string> {
  const fields: Record<string, string> = {};
  for (const issue of error.issues) fields[String(issue.path[0] ?? "")] ??= issue.message;
  return fields;
}
