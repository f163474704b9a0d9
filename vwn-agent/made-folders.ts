/** The folders that the agent has made for a job outside the places that are emptied: topmost ones, as latin1 text. */

const made: string[] = []

export const noteFolder = (folder: string): void => void made.push(folder)

/** Those made since this was last asked; whoever asks removes them. */
export const takeMadeFolders = (): readonly string[] => made.splice(0)
