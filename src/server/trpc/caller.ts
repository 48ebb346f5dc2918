import { TRPCError } from "@trpc/server";
import { notFound } from "next/navigation";
import { cache } from "react";
import { createContext } from "./context.ts";
import { createCaller } from "./root.ts";

/** Procedures for the first paint of a page, without a round trip. */
export const caller = cache(async () => createCaller(await createContext()));

/** The app of a dashboard page, looked up once; not found when it is not this person's. */
export const appOfPage = cache(async (appId: string) => {
  try {
    return await (await caller()).apps.get({ appId });
  } catch (error) {
    if (error instanceof TRPCError && error.code === "NOT_FOUND") notFound();
    throw error;
  }
});
