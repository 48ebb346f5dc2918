import { answerOAuth } from "#server/connect/bridge.ts";

export const dynamic = "force-dynamic";

const handler = (request: Request): Promise<Response> => answerOAuth(request, { person: null, address: "" });

export { handler as GET, handler as HEAD, handler as OPTIONS };
