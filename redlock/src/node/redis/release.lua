-- Deletes every key that holds the claim's value, and tells whoever listens on its channel.
-- KEYS: the lock keys. ARGV: value.
-- Answers 1 where every key held the value, else 0.
local all = 1
for _, key in ipairs(KEYS) do
  -- pcall: a key of another type is somebody else's, and no reason to keep the others.
  if redis.pcall('GET', key) == ARGV[1] then
    redis.call('DEL', key)
    -- pcall: a user without permission for the channel may still release.
    redis.pcall('PUBLISH', 'redlock:released:' .. key, '1')
  else
    all = 0
  end
end
return all
