"use client";

import { QueryClient, type QueryClientConfig, QueryClientProvider } from "@tanstack/react-query";
import { createTRPCReact, httpBatchLink, TRPCClientError } from "@trpc/react-query";
import type { inferRouterOutputs } from "@trpc/server";
import { type ReactNode, useState } from "react";
import superjson from "superjson";
import type { AppRouter } from "#server/trpc/root.ts";
import { MOST_IN_A_BATCH } from "./batch.ts";

export const trpc = createTRPCReact<AppRouter>();

/** What procedures answer, for the props of components. */
export type Answers = inferRouterOutputs<AppRouter>;

/**
 * A change that is made without a connection fails, and says so. Otherwise it would wait and be
 * made later, when the person may have thought better of it.
 */
const options: QueryClientConfig = {
  defaultOptions: { queries: { networkMode: "always", refetchOnReconnect: true }, mutations: { networkMode: "always" } },
};

export function TRPCProvider({ children }: { children: ReactNode }) {
  const [queryClient] = useState(() => new QueryClient(options));
  const [client] = useState(() =>
    trpc.createClient({
      links: [httpBatchLink({ url: "/api/trpc", transformer: superjson, maxItems: MOST_IN_A_BATCH, fetch: fetchUnlessTooLarge })],
    }),
  );
  return (
    <trpc.Provider client={client} queryClient={queryClient}>
      <QueryClientProvider client={queryClient}>{children}</QueryClientProvider>
    </trpc.Provider>
  );
}

class TooLarge extends Error {}

/** A body that is too large is refused before it comes to tRPC, in words that tRPC does not read. */
async function fetchUnlessTooLarge(url: URL | RequestInfo, options?: object): Promise<Response> {
  const response = await fetch(url, options);
  if (response.status === 413) throw new TooLarge();
  return response;
}

/** What a form shows of a failure: a sentence for the whole, and one for each field. */
export function failureOf(error: unknown): { message: string | null; fields: Record<string, string> } {
  if (error === null || error === undefined) return { message: null, fields: {} };
  if (error instanceof TRPCClientError) {
    if (error.cause instanceof TooLarge)
      return { message: "This is too much to send at once. Make it shorter, then try again.", fields: {} };
    const data = error.data as { code?: string; fields?: Record<string, string> | null } | undefined;
    if (data?.fields) return { message: null, fields: data.fields };
    if (data?.code === "UNAUTHORIZED") return { message: "Your session is over. Sign in again, then repeat this.", fields: {} };
    if (data?.code !== undefined) return { message: error.message, fields: {} };
  }
  return { message: "The server did not answer. Check your connection and try again.", fields: {} };
}
