/** The greatest number of procedures in one request, for the client's batches and the server's limit. */
export const MOST_IN_A_BATCH = 20;
