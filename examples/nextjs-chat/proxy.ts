import { createQuotaMiddleware } from "@usequota/nextjs";
import { getSession } from "./lib/session.ts";

export default createQuotaMiddleware({
  clientId: process.env.QUOTA_CLIENT_ID,
  clientSecret: process.env.QUOTA_CLIENT_SECRET,
  storageMode: "hosted",
  getExternalUserId: async (request) => {
    const session = await getSession(request);
    return session?.userId;
  },
});

// Everything except static files, so that the middleware removes cookies of other users from requests for pages.
export const config = { matcher: "/((?!_next/|icon.svg|api/webhooks/).*)" };
