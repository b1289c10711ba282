-- Lets an instance hear itself, and gives the generation; one that was forgotten is restored. KEYS: the
-- generation. ARGV: the generation the instance knows, its own channel.
local stored = tonumber(redis.call('GET', KEYS[1])) or 0
local known = tonumber(ARGV[1])
if stored < known then
  redis.call('SET', KEYS[1], ARGV[1])
  stored = known
end
redis.call('PUBLISH', ARGV[2], '')
return stored
