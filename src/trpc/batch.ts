/** How many procedures one request may call: what the client puts into one, and what the server takes. A page asks for a handful. */
export const MOST_IN_A_BATCH = 20;
